"""Names that are most like one that was mistyped, or that somebody else spelt otherwise."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final

ALIKE: Final = 0.75
"""From this ratio of `difflib` on two names are taken for one that is spelt in two ways."""
MOST_COMPARED: Final = 2_500
"""So many pairs of names are compared letter by letter at most."""


def likely(typed: str, known: Iterable[str], otherwise: str) -> str:
    """Return a hint: which of the known names are like what was typed, then what helps anyhow.

    Not for names of people: those are given by others, and one that is like a trusted one must
    not be recommended.
    """
    from difflib import get_close_matches  # seldom needed

    by_lower = {name.lower(): name for name in known}
    close = get_close_matches(typed.lower(), by_lower)
    if not close:
        return otherwise
    return f"Did you mean {' or '.join(repr(by_lower[each]) for each in close)}? {otherwise}"


def spelt_otherwise(missing: Iterable[str], others: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Pair names that are missed with those of the others that are likely meant, and say how.

    Each of the others is paired once at most. Those that differ in blanks, case or width alone
    come first, then those that are most alike by their letters.
    """
    left, paired = list(dict.fromkeys(others)), {}
    wanted = list(dict.fromkeys(missing))
    for name in wanted:
        found = next((each for each in left if _plain(each) == _plain(name)), None)
        if found is not None:
            paired[name] = found, _difference(name, found)
            left.remove(found)
    if len(wanted) * len(left) > MOST_COMPARED:
        return paired  # another table altogether
    for name in wanted:
        if name not in paired and (found := _closest(name, left)) is not None:
            paired[name] = found, "some characters"
            left.remove(found)
    return paired


def _closest(name: str, others: Iterable[str]) -> str | None:
    from difflib import get_close_matches  # seldom needed

    by_plain = {_plain(each): each for each in others}
    close = get_close_matches(_plain(name), by_plain, n=1, cutoff=ALIKE)
    return by_plain[close[0]] if close else None


def _plain(name: str) -> str:
    """Return a name without what people do not see, or take for nothing: blanks, case, width."""
    letters = unicodedata.normalize("NFKC", name).casefold()
    return "".join(each for each in letters if each.isalnum()) or letters.strip()


def _difference(name: str, other: str) -> str:
    if name.strip() == other.strip():
        return "blanks around it"
    if name.casefold() == other.casefold():
        return "upper and lower case"
    if unicodedata.normalize("NFKC", name) == unicodedata.normalize("NFKC", other):
        return "the width or form of its characters"
    return "blanks, marks, case or width"
