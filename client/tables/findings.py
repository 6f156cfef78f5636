"""What was found out about a table before it is read, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from client.tables.errors import TableUnsure


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: what, how it is, why, and the option that says otherwise.

    One that is not `sure` may be wrong in a way that changes cells, and is for a person to decide.
    """

    what: str
    value: str
    why: str = ""
    sure: bool = True
    option: str = ""


NO_ROWS: Final = Finding(
    "rows", "none", "columns and nothing below them: is the export whole, and not filtered?", False
)
"""A table that nobody sends by mistake twice; --yes sends it."""


def demand_sure(findings: Iterable[Finding]) -> None:
    """Refuse what nobody decided.

    Raises: TableUnsure, naming each finding that may be wrong, and the options that decide them.
    """
    doubts = [each for each in findings if not each.sure]
    if doubts:
        told = "; ".join(f"{each.what}: {each.value} ({each.why})" for each in doubts)
        options = options_of(doubts)
        otherwise = f"say so, or otherwise: {options}" if options else ""
        raise TableUnsure(
            f"not sure enough to go on by itself: {told}",
            hint=f"{otherwise}--yes takes everything as it was found",
        )


def options_of(doubts: Iterable[Finding]) -> str:
    """Return the options that decide findings as they were found, to be followed by more."""
    options = " ".join(dict.fromkeys(each.option for each in doubts if each.option))
    return f"{options}; " if options else ""
