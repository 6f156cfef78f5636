"""One text for each value of each Arrow type, for files that hold only text.

By type:

    bool            true, false
    floats          the shortest digits that give the same value back, without an exponent from
                    1e-4 to 1e16; nan, inf, -inf
    dates, times    ISO 8601; timestamps with a zone in UTC and with Z, without one as they are
    durations       a whole number of the column's unit
    intervals       P1M2DT3N: months, days, nanoseconds
    decimals        all digits of their scale, with an exponent where Arrow writes one
    binary          base64 (RFC 4648, padded)
    dictionaries    their values
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from client.tables.arrow_types import is_text, varies_in_length


def text_form(array: pa.Array) -> pa.Array:
    """Return the values' texts as a large_string array, nulls where there were nulls.

    Raises: ValueError for a date or time beyond the years that ISO 8601 texts have here.
    """
    if pa.types.is_dictionary(array.type):
        return _of_dictionary(array)
    kind = array.type
    if is_text(kind) or pa.types.is_null(kind):
        return array.cast(pa.large_string())
    if varies_in_length(kind) or pa.types.is_fixed_size_binary(kind):
        return _each(array, lambda value: base64.b64encode(value).decode())
    if pa.types.is_interval(kind):
        return _each(array, lambda value: f"P{value.months}M{value.days}DT{value.nanoseconds}N")
    if pa.types.is_float16(kind):
        return _each(array, _half)
    if pa.types.is_duration(kind):
        return array.cast(pa.int64()).cast(pa.large_string())
    if pa.types.is_floating(kind):
        return _floats(array)
    texts = array.cast(pa.large_string()) if not _zoned(kind) else _in_utc(array)
    return _iso(texts) if pa.types.is_temporal(kind) else texts


def _of_dictionary(array: pa.Array) -> pa.Array:
    texts = text_form(array.dictionary)
    return pa.DictionaryArray.from_arrays(array.indices, texts).dictionary_decode()


def _each(array: pa.Array, text: Callable[..., str]) -> pa.Array:
    values = [None if value is None else text(value) for value in array.to_pylist()]
    return pa.array(values, pa.large_string())


def _floats(array: pa.Array) -> pa.Array:
    """Spell out what Arrow writes with an exponent and people without: 13800138000, 0.00001."""
    texts = array.cast(pa.large_string())
    size = pc.abs(array.cast(pa.float64()))
    common = pc.and_(pc.less(size, 1e16), pc.greater_equal(size, 1e-4))
    spelt = pc.and_(common, pc.match_substring(texts, "e"))
    if not pc.any(spelt).as_py():
        return texts
    plain = [format(Decimal(text), "f") for text in texts.filter(spelt).to_pylist()]
    return pc.replace_with_mask(texts, spelt.fill_null(False), pa.array(plain, pa.large_string()))


def _half(value: float) -> str:
    import numpy as np

    return str(np.float16(value)).removesuffix(".0")


def _zoned(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) and kind.tz is not None


def _in_utc(array: pa.Array) -> pa.Array:
    """Name the instant in UTC, for which no time zone database is needed.

    By way of the type without a zone: with one, Arrow writes nonsense for years out of range.
    """
    texts = array.view(pa.timestamp(array.type.unit)).cast(pa.large_string())
    ends = pa.scalar("Z", pa.large_string())
    return pc.binary_join_element_wise(texts, ends, pa.scalar("", pa.large_string()))


def _iso(texts: pa.Array) -> pa.Array:
    if pc.any(pc.starts_with(texts, "<")).as_py():
        raise ValueError("a date out of range")
    return pc.replace_substring(texts, " ", "T", max_replacements=1)
