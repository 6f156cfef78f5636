"""Arrow arrays of every type that a vault holds, with the bytes that each cell should be."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from client.tables import type_from_text

DAY_MS = 86_400_000
TEXT_TYPES = ("string", "large_string", "string_view")
BINARY_TYPES = ("binary", "large_binary", "binary_view")


def _integers(width: int, low: int, high: int, step: int = 1) -> st.SearchStrategy[bytes]:
    numbers = st.integers(low, high)
    return numbers.map(lambda number: (number * step).to_bytes(width, "little", signed=True))


def _any(width: int) -> st.SearchStrategy[bytes]:
    edges = [bytes(width), b"\xff" * width, bytes(width - 1) + b"\x80"]
    return st.binary(min_size=width, max_size=width) | st.sampled_from(edges)


def _decimal(width: int, digits: int) -> st.SearchStrategy[bytes]:
    return _integers(width, 1 - 10**digits, 10**digits - 1)


NAN_PAYLOADS = st.sampled_from(
    [bytes.fromhex(text) for text in ("010000000000f07f", "efbeadde0000f8ff", "000000000000f0ff")]
)
TEXTS = st.text(max_size=8).map(str.encode)

# Every plain type and one or two of each with parameters; values as the bytes of their cells.
VALUES: dict[str, st.SearchStrategy[bytes]] = {
    "bool": st.sampled_from([b"\0", b"\1"]),
    **{f"{sign}int{bits}": _any(bits // 8) for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float16": _any(2),
    "float32": _any(4),
    "float64": _any(8) | NAN_PAYLOADS,
    **dict.fromkeys(TEXT_TYPES, TEXTS),
    **dict.fromkeys(BINARY_TYPES, st.binary(max_size=20)),
    "fixed_size_binary[1]": _any(1),
    "fixed_size_binary[16]": _any(16),
    "date32": _any(4),
    "date64": _integers(8, -(10**5), 10**5, DAY_MS),
    "time32[s]": _integers(4, 0, 86_399),
    "time32[ms]": _integers(4, 0, DAY_MS - 1),
    "time64[us]": _integers(8, 0, DAY_MS * 1000 - 1),
    "time64[ns]": _integers(8, 0, DAY_MS * 10**6 - 1),
    "timestamp[s]": _integers(8, -(2**50), 2**50),
    "timestamp[ms]": _any(8),
    "timestamp[us, tz=Asia/Shanghai]": _any(8),
    "timestamp[ns, tz=+05:30]": _any(8),
    "timestamp[s, tz=UTC]": _integers(8, -(2**50), 2**50),
    "duration[s]": _any(8),
    "duration[ns]": _any(8),
    "month_day_nano_interval": _any(16),
    "decimal32(7,2)": _decimal(4, 7),
    "decimal64(18,0)": _decimal(8, 18),
    "decimal128(38,-3)": _decimal(16, 38),
    "decimal256(76,10)": _decimal(32, 76),
    "null": st.nothing(),
}
DICTIONARIES = [
    f"dictionary<values={values}, indices={indices}, ordered={ordered}>"
    for values, indices, ordered in [
        *((kind, "int32", 0) for kind in VALUES),
        ("string", "int8", 1),
        ("string", "uint64", 0),
    ]
]


def value_text(type_text: str) -> str:
    """Return the text of the type of a column's cells."""
    if not type_text.startswith("dictionary"):
        return type_text
    return type_text.removeprefix("dictionary<values=").rsplit(", indices", 1)[0]


@st.composite
def columns(draw: st.DrawFn, type_text: str, most: int = 12) -> tuple[pa.Array, list[bytes | None]]:
    """Draw an array of a type, perhaps a slice of a longer one, and its cells."""
    values = VALUES[value_text(type_text)]
    cell = st.none() if values.is_empty else st.none() | values
    before, cells, after = draw(
        st.tuples(*(st.lists(cell, max_size=size) for size in (9, most, 3)))
    )
    whole = array_of(type_text, before + cells + after)
    return whole[len(before) : len(before) + len(cells)], cells


def array_of(type_text: str, cells: list[bytes | None]) -> pa.Array:
    """Build an array by Arrow's own means, not by those under test."""
    data_type = type_from_text(type_text)
    if not pa.types.is_dictionary(data_type):
        return _plain(data_type, cells)
    distinct = sorted({cell for cell in cells if cell is not None})
    indices: list[Any] = [None if cell is None else distinct.index(cell) for cell in cells]
    return pa.DictionaryArray.from_arrays(
        pa.array(indices, data_type.index_type),
        _plain(data_type.value_type, [*distinct]),
        ordered=data_type.ordered,
    )


def _plain(data_type: pa.DataType, cells: list[bytes | None]) -> pa.Array:
    if data_type == pa.null():
        return pa.nulls(len(cells))
    if data_type == pa.bool_():
        return pa.array([None if cell is None else cell == b"\1" for cell in cells], data_type)
    if data_type in map(type_from_text, TEXT_TYPES):
        return pa.array(
            [None if cell is None else cell.decode() for cell in cells], pa.string()
        ).cast(data_type)
    if data_type in map(type_from_text, BINARY_TYPES):
        return pa.array(cells, pa.binary()).cast(data_type)
    return pa.array(cells, pa.binary(data_type.bit_width // 8)).view(data_type)
