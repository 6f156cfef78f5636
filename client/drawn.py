"""Which characters of a text somebody can see: not all that are letters or marks are drawn.

A name that another person gave may consist of characters that fonts draw as nothing, or differ
from another name by them alone.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Final

# Default_Ignorable_Code_Point, DerivedCoreProperties.txt of the Unicode Character Database 15.1
# (the same since 14.0); Python's `unicodedata` does not have it.
IGNORABLE: Final = (
    (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5),
    (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164),
    (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip

BLANK: Final = frozenset("\u2800\U0001d159\U00016fe4")
"""Drawn as nothing although it is no space: a cell of Braille without dots, a note without a head,
the filler of Khitan."""

# What variation selectors change the look of, as StandardizedVariants.txt, the sequences of emoji
# and the Ideographic Variation Database have it; after anything else nobody would see them.
_IDEOGRAPHS: Final = (
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF),
)  # fmt: skip
_MONGOLIAN: Final = ((0x1820, 0x1878), (0x1880, 0x18AA))
_EMOJI_BESIDE_SYMBOLS: Final = frozenset("#*0123456789\u203c\u2049\u2139\u3030\u303d")


def drawn(text: str) -> Iterator[bool]:
    """Yield for each character whether it is drawn, or a space, or changes what is before it.

    Controls, formats, separators of lines, surrogates, and characters for private use or without
    a meaning are not. Variation selectors are where they stand after what has variants.
    """
    before = ""
    for each in text:
        yield _is_drawn(each, before)
        before = each


def _is_drawn(character: str, before: str) -> bool:
    if not character.isprintable():
        return unicodedata.category(character) == "Zs"
    if _among(IGNORABLE, character):
        return bool(before) and _varies(before, ord(character))
    return character not in BLANK


def _varies(before: str, selector: int) -> bool:
    if 0xE0100 <= selector <= 0xE01EF or 0xFE00 <= selector <= 0xFE02:
        return _among(_IDEOGRAPHS, before)
    if 0xFE0E <= selector <= 0xFE0F:
        symbol = unicodedata.category(before) in ("So", "Sm") and before not in BLANK
        return symbol or before in _EMOJI_BESIDE_SYMBOLS
    return 0x180B <= selector <= 0x180F and _among(_MONGOLIAN, before)


def _among(ranges: tuple[tuple[int, int], ...], character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in ranges)


def alike(text: str) -> str:
    """Return what a person can tell a name from others by: equal for names that look the same.

    Case, forms of one letter, kinds and numbers of spaces, those at the ends, and characters that
    are drawn as nothing make no difference.
    """
    text = unicodedata.normalize("NFC", text)
    seen = "".join(each for each, shown in zip(text, drawn(text), strict=True) if shown)
    folded = unicodedata.normalize("NFD", spaced(seen)).casefold()
    return unicodedata.normalize("NFC", folded)


def spaced(text: str) -> str:
    """Return a text with one plain space for any number of spaces of any kind, none at the ends."""
    return " ".join(text.split())
