"""What can be wrong with a table that comes in or goes out. Places, never cells.

Every class has its own stable code `table_*`. Rows have the numbers that a spreadsheet shows beside
them, in every message: of a text file or a sheet the header counts, and what stands above it. In
tables without a header line (Parquet, Arrow, databases) the first record is row 1.
"""

from __future__ import annotations

from protocol.errors import SealroomError

_LONGEST_NAME = 60


class TableError(SealroomError):
    """A table cannot be read or written; `row`, `column` and `byte_offset` say where if known."""

    code = "table"

    def __init__(
        self,
        message: str,
        *,
        row: int | None = None,
        column: str | None = None,
        byte_offset: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.message = message
        self.row = row
        self.column = column
        self.byte_offset = byte_offset

    def __str__(self) -> str:
        """Put the place before what is wrong there."""
        place = ", ".join(self._place())
        return f"{place}: {self.message}" if place else self.message

    def _place(self) -> list[str]:
        place = []
        if self.row is not None:
            place.append(f"row {self.row}")
        if self.column is not None:
            shown = self.column[:_LONGEST_NAME]
            place.append(f"column {shown!r}{'...' if shown != self.column else ''}")
        if self.byte_offset is not None:
            place.append(f"byte {self.byte_offset}")
        return place


class TableUnreadable(TableError):
    """No file there, not a table, or a damaged one."""

    code = "table_unreadable"


class TableFormat(TableError):
    """A kind of table, or an option for one, that this build does not know."""

    code = "table_format"


class TableUnsure(TableError):
    """Something was found in a table that only a person can decide, and nobody did."""

    code = "table_unsure"


class TablePackage(TableError):
    """Another package has to be installed to read or write this kind of table."""

    code = "table_package"


class TableEmpty(TableError):
    """A file without a header row."""

    code = "table_empty"


class TableEncoding(TableError):
    """Bytes that are not text in the encoding named, or text that it cannot hold."""

    code = "table_encoding"


class TableSyntax(TableError):
    """Quotes or bytes that a CSV file cannot have."""

    code = "table_syntax"


class TableRagged(TableError):
    """A row with more or fewer cells than the header."""

    code = "table_ragged"


class TableTooLarge(TableError):
    """More than the table of limits allows: a cell, a name, the number of columns."""

    code = "table_too_large"


class TableType(TableError):
    """A column type that cells cannot hold, or that the file to write cannot."""

    code = "table_type"


class TableValue(TableError):
    """One cell that the file to write cannot hold without changing it."""

    code = "table_value"


class TableExists(TableError):
    """The file to write is already there."""

    code = "table_exists"


class TableUnwritable(TableError):
    """The file to write cannot be written: a full disk, no such folder, no permission."""

    code = "table_unwritable"


class TableChanged(TableError):
    """The file was written to while it was read."""

    code = "table_changed"
