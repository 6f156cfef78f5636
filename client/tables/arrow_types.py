"""Arrow types and their texts: one text for a type, one type for a text (SPEC section 7).

The grammar of the texts is in `client.tables.type_texts`.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from client.tables.errors import TableType
from client.tables.type_texts import DECIMAL, DICTIONARY, FIXED, UNITS, ZONED, is_type_text

_PLAIN: Final[dict[str, pa.DataType]] = {
    "null": pa.null(),
    "bool": pa.bool_(),
    **{f"{sign}int{bits}": getattr(pa, f"{sign}int{bits}")() for sign in ("", "u")
       for bits in (8, 16, 32, 64)},
    **{f"float{bits}": getattr(pa, f"float{bits}")() for bits in (16, 32, 64)},
    "string": pa.string(),
    "large_string": pa.large_string(),
    "string_view": pa.string_view(),
    "binary": pa.binary(),
    "large_binary": pa.large_binary(),
    "binary_view": pa.binary_view(),
    "date32": pa.date32(),
    "date64": pa.date64(),
    **{f"time32[{unit}]": pa.time32(unit) for unit in ("s", "ms")},
    **{f"time64[{unit}]": pa.time64(unit) for unit in ("us", "ns")},
    **{f"duration[{unit}]": pa.duration(unit) for unit in UNITS},
    **{f"timestamp[{unit}]": pa.timestamp(unit) for unit in UNITS},
    "month_day_nano_interval": pa.month_day_nano_interval(),
}  # fmt: skip
_TEXTS: Final = {data_type: text for text, data_type in _PLAIN.items()}


def type_to_text(data_type: pa.DataType, *, column: str | None = None) -> str:
    """Return the one text of an Arrow type (SPEC section 7).

    Raises: TableType, naming `column`, for nested and extension types and whatever else cells
    cannot hold.
    """
    text = _written(data_type)
    if text is None or not _is_text_of(text, data_type):
        raise TableType(
            f"columns of the Arrow type {_short(data_type)} cannot be sealed",
            column=column,
            hint="flatten it into columns of their own, or convert it to text (JSON) first",
        )
    return text


def type_from_text(text: str) -> pa.DataType:
    """Return the Arrow type of a text that `type_to_text` wrote (SPEC section 7).

    Guaranteed: `type_to_text` of the result gives the same text.
    Raises: TableType for any other text.
    """
    if not is_type_text(text):
        raise TableType(f"{text[:40]!r} is not the text of a column type")
    return _read(text)


def value_type(data_type: pa.DataType) -> pa.DataType:
    """Return what a column's cells hold: the value type of a dictionary, else the type itself."""
    return data_type.value_type if pa.types.is_dictionary(data_type) else data_type


def is_text(data_type: pa.DataType) -> bool:
    """Whether values of this type are UTF-8."""
    return data_type in (pa.string(), pa.large_string(), pa.string_view())


def varies_in_length(data_type: pa.DataType) -> bool:
    """Whether the type is a text or binary one whose values have no fixed width."""
    binary = (pa.binary(), pa.large_binary(), pa.binary_view())
    return is_text(data_type) or data_type in binary


def _written(data_type: pa.DataType) -> str | None:
    if isinstance(data_type, pa.BaseExtensionType):
        return None
    if pa.types.is_timestamp(data_type) and data_type.tz is not None:
        return f"timestamp[{data_type.unit}, tz={data_type.tz}]"
    if pa.types.is_fixed_size_binary(data_type):
        return f"fixed_size_binary[{data_type.byte_width}]"
    if pa.types.is_decimal(data_type):
        return f"decimal{data_type.bit_width}({data_type.precision},{data_type.scale})"
    if pa.types.is_dictionary(data_type):
        values, indices = _written(data_type.value_type), _TEXTS[data_type.index_type]
        return f"dictionary<values={values}, indices={indices}, ordered={int(data_type.ordered)}>"
    return _TEXTS.get(data_type)


def _is_text_of(text: str, data_type: pa.DataType) -> bool:
    return is_type_text(text) and bool(_read(text) == data_type)


def _read(text: str) -> Any:
    """Make the type of a text that is one."""
    if plain := _PLAIN.get(text):
        return plain
    if zoned := ZONED.fullmatch(text):
        return pa.timestamp(zoned[1], zoned[2])
    if fixed := FIXED.fullmatch(text):
        return pa.binary(int(fixed[1]))
    if decimal := DECIMAL.fullmatch(text):
        return getattr(pa, f"decimal{decimal[1]}")(int(decimal[2]), int(decimal[3]))
    dictionary = DICTIONARY.fullmatch(text)
    assert dictionary is not None  # the last kind that there is
    return pa.dictionary(_PLAIN[dictionary[2]], _read(dictionary[1]), dictionary[3] == "1")


def _short(data_type: pa.DataType) -> str:
    shown = str(data_type).split("<")[0].split("(")[0].split("[")[0]
    return shown[:40]
