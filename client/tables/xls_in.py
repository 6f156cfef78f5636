"""Workbooks of Excel 97 to 2003, by xlrd: plain Python, which a damaged file can only make fail."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from client.tables.errors import TableError, TablePackage, TableTooLarge, TableUnreadable
from client.tables.excel_cells import Cell, Kind, cell_of_number, kind_of_format
from client.tables.xlsx_in import Row
from protocol.limits import MIB

_LARGEST: Final = 512 * MIB


class Xls:
    """One workbook; its sheets in their order. Use it as a context."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        try:
            import xlrd
        except ModuleNotFoundError:
            raise TablePackage(
                "an old Excel workbook (.xls) is read with a package that is not installed",
                hint="pip install 'sealroom[excel]', or save the workbook as .xlsx",
            ) from None
        if path.stat().st_size > _LARGEST:
            raise TableTooLarge(f"{path.name} is above {_LARGEST // MIB} MiB", hint="save as .xlsx")
        self._errors = xlrd.error_text_from_code
        self._book: Any = self._tried(
            lambda: xlrd.open_workbook(
                path, logfile=io.StringIO(), formatting_info=True, on_demand=True, ragged_rows=True
            )
        )

    def __enter__(self) -> Xls:
        return self

    def __exit__(self, *_: object) -> None:
        self._book.release_resources()

    @property
    def sheets(self) -> tuple[str, ...]:
        """The names of the sheets."""
        return tuple(self._book.sheet_names())

    def rows(self, sheet: str) -> Iterator[Row]:
        """Yield the rows that have cells, in their order. Raises: TableUnreadable."""
        page = self._tried(lambda: self._book.sheet_by_name(sheet))
        for number in range(page.nrows):
            cells = self._tried(lambda number=number: self._row(page, number))
            if cells:
                yield number + 1, cells
        self._book.unload_sheet(sheet)

    def _row(self, page: Any, number: int) -> list[tuple[int, Cell]]:
        found = ((column, self._cell(each)) for column, each in enumerate(page.row(number)))
        return [(column, cell) for column, cell in found if cell is not None]

    def _cell(self, cell: Any) -> Cell | None:
        match cell.ctype:
            case 1:
                # A text of nothing is an empty cell's formula, or its style.
                return Cell(Kind.TEXT, _clean(cell.value)) if cell.value else None
            case 2 | 3:
                style = self._book.xf_list[cell.xf_index]
                code = self._book.format_map[style.format_key].format_str
                kind = kind_of_format(style.format_key, code)
                since_1904 = bool(self._book.datemode)
                return cell_of_number(float(cell.value), kind, since_1904=since_1904)
            case 4:
                return Cell(Kind.BOOLEAN, bool(cell.value))
            case 5:
                return Cell(Kind.ERROR, self._errors.get(cell.value, "#ERROR"))
        return None

    def _tried(self, work: Any) -> Any:
        """Do something with bytes that may be damaged; whatever they break is told as that."""
        try:
            return work()
        except TableError:
            raise
        except Exception:
            raise TableUnreadable(
                f"{self._name} is not a whole Excel workbook, or has a password",
                hint="open it, take its password away, and save it as .xlsx",
            ) from None


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
