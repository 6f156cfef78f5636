"""Names that are most like one that was mistyped."""

from __future__ import annotations

from collections.abc import Iterable


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
