"""Rows that cannot be read, set aside in a file of their own: never dropped, never padded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

from client.tables.csv_rows import BadRow
from client.tables.sink import NewFile

_TOLD_ROWS: Final = 5


class SetAside:
    """Rows that could not be read, in a file of their own, as they were, and how many by reason."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: NewFile | None = None
        self._reasons: Counter[str] = Counter()
        self._rows: list[int] = []

    def take(self, bad: BadRow) -> None:
        """Keep a row."""
        if self._file is None:
            self._file = NewFile(self._path, overwrite=True)
        self._file.stream.write(bad.raw)
        self._reasons[bad.error.message] += 1
        self._rows.append(bad.error.row or 0)

    def finish(self) -> str | None:
        """Bring the file into place, and say what is in it; None where nothing was set aside."""
        if self._file is None:
            return None
        self._file.commit()
        count, rows = len(self._rows), ", ".join(map(str, self._rows[:_TOLD_ROWS]))
        more = ", ..." if count > _TOLD_ROWS else ""
        reasons = "; ".join(f"{many:,} x {reason}" for reason, many in self._reasons.items())
        noun = "row was" if count == 1 else "rows were"
        return f"{count:,} {noun} set aside in {self._path.name} (row {rows}{more}): {reasons}"

    def close(self) -> None:
        """Remove what was written unless it was finished."""
        if self._file is not None:
            self._file.abort()
