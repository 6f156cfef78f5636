"""The texts that name a column's type, without Arrow (SPEC section 7).

They travel in catalogs, so this is a grammar of ours and not what a library happens to print:

    null bool int8..int64 uint8..uint64 float16 float32 float64
    string large_string string_view binary large_binary binary_view fixed_size_binary[N]
    date32 date64 time32[s|ms] time64[us|ns] duration[s|ms|us|ns]
    timestamp[s|ms|us|ns] timestamp[UNIT, tz=ZONE] month_day_nano_interval
    decimal32(P,S) decimal64(P,S) decimal128(P,S) decimal256(P,S)
    dictionary<values=TYPE, indices=INTEGER, ordered=0|1>

Names are read by every command, tables by few: who only wants to know whether a text is one of
these does not wait for Arrow. `client.tables.arrow_types` makes types of them.
"""

from __future__ import annotations

import re
from typing import Final

from protocol.limits import LIMITS

LONGEST_TEXT: Final = 256
UNITS: Final = ("s", "ms", "us", "ns")
INTEGERS: Final = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
PLAIN: Final = frozenset({
    "null",
    "bool",
    *INTEGERS,
    *(f"float{bits}" for bits in (16, 32, 64)),
    "string",
    "large_string",
    "string_view",
    "binary",
    "large_binary",
    "binary_view",
    "date32",
    "date64",
    *(f"time32[{unit}]" for unit in ("s", "ms")),
    *(f"time64[{unit}]" for unit in ("us", "ns")),
    *(f"duration[{unit}]" for unit in UNITS),
    *(f"timestamp[{unit}]" for unit in UNITS),
    "month_day_nano_interval",
})  # fmt: skip
"""The texts without a number or a name in them."""

ZONED: Final = re.compile(r"timestamp\[(s|ms|us|ns), tz=([A-Za-z0-9_+:/-]{1,64})\]", re.ASCII)
FIXED: Final = re.compile(r"fixed_size_binary\[([1-9][0-9]{0,6})\]")
DECIMAL: Final = re.compile(r"decimal(32|64|128|256)\(([1-9][0-9]?),(0|-?[1-9][0-9]{0,2})\)")
DICTIONARY: Final = re.compile(
    r"dictionary<values=(?!dictionary)(.+), indices=(u?int(?:8|16|32|64)), ordered=([01])>"
)
_DIGITS: Final = {"32": 9, "64": 18, "128": 38, "256": 76}
"""How many decimal digits so many bits hold."""


def is_type_text(text: str) -> bool:
    """Say whether a text is the one of some type, as `type_from_text` judges."""
    return len(text) <= LONGEST_TEXT and _is_type(text)


def _is_type(text: str) -> bool:
    if text in PLAIN or ZONED.fullmatch(text):
        return True
    if fixed := FIXED.fullmatch(text):
        return int(fixed[1]) <= LIMITS.cell_bytes
    if decimal := DECIMAL.fullmatch(text):
        return int(decimal[2]) <= _DIGITS[decimal[1]]
    dictionary = DICTIONARY.fullmatch(text)
    return dictionary is not None and _is_type(dictionary[1])
