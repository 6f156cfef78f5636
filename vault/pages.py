"""Pages of the log, as they are stored and as they are sent (SPEC section 10.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from protocol.api import LogLeaf, LogPart
from protocol.limits import LIMITS
from vault.storage.base import SidePart, StoredLeaf

PAGE_PARTS: Final = LIMITS.message_elements // 4
"""How many parts of sides a page of the log holds, so that its elements stay within the limit."""


def bounded_page(stored: Sequence[StoredLeaf]) -> tuple[LogLeaf, ...]:
    """Return the first of these leaves, as many as one message holds, and one at least."""
    page: list[LogLeaf] = []
    parts = 0
    for leaf in stored:
        parts += len(leaf.sides)
        if page and parts > PAGE_PARTS:
            break
        page.append(LogLeaf(leaf.leaf, tuple(map(_log_part, leaf.sides))))
    return tuple(page)


def _log_part(part: SidePart) -> LogPart:
    return LogPart(None, part.digest) if part.content is None else LogPart(part.content, None)
