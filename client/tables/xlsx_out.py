"""Excel out: one sheet, types kept as far as Excel has them, everything else as text.

Excel has doubles, texts, booleans, and dates to the millisecond from 1900-03-01 on. What would
lose a digit as one of those is written as text, and a note says which columns hold such cells.
Columns are made into XML as Arrow arrays; what comes out is read back equal by `open_source`.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.compute as pc

from client.tables.arrow_types import value_type
from client.tables.cells import decoded
from client.tables.errors import TableTooLarge, TableValue
from client.tables.excel_cells import DAY_MS, LONGEST_CELL, LOST_DIGITS, MOST_ROWS
from client.tables.sink import Sink
from client.tables.source import Column
from client.tables.text_forms import text_form

_HEAD: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_KIND: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"

_GENERAL, _TEXT, _DATE, _MOMENT, _TIME, _SPAN = range(6)
_FORMATS: Final = ("General", "@", "yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss.000", "hh:mm:ss.000",
                   "[h]:mm:ss.000")  # fmt: skip
_DECIMALS: Final = len(_FORMATS)
_SCALES: Final = range(16)

_FIRST_DAY: Final = -25_508  # 1900-03-01, before which Excel's days are not the calendar's
_LAST_DAY: Final = 2_932_896
_SERIAL_OF_1970: Final = 25_569
_PRECISION: Final = 15
_NOT_XML: Final = r"[\x00-\x08\x0b-\x1f\x{fffe}\x{ffff}]|_x[0-9A-Fa-f]{4}_"
_UNFIT: Final = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
_SHEET_NAME: Final = re.compile(r"[\[\]:*?/\\\x00-\x1f\ud800-\udfff\ufffe\uffff]")
_EMPTY: Final = "<c/>"


class XlsxSink(Sink):
    """A workbook of one sheet."""

    def __init__(
        self, path: Path, columns: Sequence[Column], *, sheet: object, overwrite: bool
    ) -> None:
        super().__init__(path, columns, overwrite=overwrite)
        self._name = _SHEET_NAME.sub("_", str(sheet or path.stem))[:31].strip("'") or "Sheet1"
        try:
            self._archive = zipfile.ZipFile(self._file.stream, "w", zipfile.ZIP_DEFLATED, True, 6)
            self._sheet: IO[bytes] = self._archive.open(
                "xl/worksheets/sheet1.xml", "w", force_zip64=True
            )
            self._begin()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Remove what was written; without effect after `commit`, or twice."""
        for each in (getattr(self, "_sheet", None), getattr(self, "_archive", None)):
            if each is not None and self._open:
                with suppress(OSError, ValueError):  # a full disk, which is why we are here
                    each.close()
        super().abort()

    def _begin(self) -> None:
        self._sheet.write(
            f'{_HEAD}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0">'
            '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/>'
            "</sheetView></sheetViews><sheetData><row>".encode()
        )
        names = pa.array([column.name for column in self.columns], pa.large_string())
        for cell in self._texts(names, None).to_pylist():
            self._sheet.write(cell.encode())
        self._sheet.write(b"</row>")

    def _write(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        if self.rows_written + batch.num_rows > MOST_ROWS - 1:
            raise TableTooLarge(
                f"a sheet has at most {MOST_ROWS:,} rows", hint="write CSV or Parquet, or --limit"
            )
        named = zip(batch.schema.names, batch.columns, strict=True)
        cells = [self._cells(name, decoded(array)) for name, array in named]
        self._say_blanks(batch)
        begin, end, nothing = (_scalar(text) for text in ("<row>", "</row>", ""))
        rows = pc.binary_join_element_wise(begin, *cells, end, nothing)
        whole = pa.LargeListArray.from_arrays(pa.array([0, len(rows)], pa.int64()), rows)
        self._sheet.write(pc.binary_join(whole, nothing)[0].as_buffer())

    def _finish(self) -> None:
        self._sheet.write(b"</sheetData></worksheet>")
        self._sheet.close()
        for name, content in _parts(self._name).items():
            self._archive.writestr(name, content)
        self._archive.close()

    def _say_blanks(self, batch: pa.RecordBatch) -> None:
        blank = pc.is_null(batch.column(0))
        for column in batch.columns[1:]:
            blank = pc.and_(blank, pc.is_null(column))
        if pc.any(blank).as_py():
            self.note("rows without any value are blank rows here, which readers leave out")

    # --- cells

    def _cells(self, name: str, values: pa.Array) -> pa.Array:
        kind = values.type
        if pa.types.is_boolean(kind):
            return _filled(_wrapped('<c t="b"><v>', values.cast(pa.int8()), "</v></c>"))
        fits, numbers, style = _as_numbers(values)
        if fits is None:
            return self._texts(text_form_of(values, name), name)
        texts = self._texts(text_form_of(values, name), name)
        if pc.any(pc.invert(fits)).as_py():
            self.note(f"column {name!r}: cells that Excel cannot hold exactly are text")
        written = _wrapped(f'<c s="{style}"><v>', numbers, "</v></c>")
        return _filled(pc.if_else(fits, written, texts))

    def _texts(self, texts: pa.Array, name: str | None) -> pa.Array:
        self._refuse_long(texts, name)
        escaped = texts
        for mark, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            escaped = pc.replace_substring(escaped, mark, entity)
        unfit = pc.match_substring_regex(texts, _NOT_XML)
        if pc.any(unfit).as_py():
            escaped = pa.array(map(_escaped, texts.to_pylist()), pa.large_string())
        head = f'<c s="{_TEXT}" t="inlineStr"><is><t xml:space="preserve">'
        return _filled(_wrapped(head, escaped, "</t></is></c>"))

    def _refuse_long(self, texts: pa.Array, name: str | None) -> None:
        longest = pc.max(pc.utf8_length(texts)).as_py() or 0
        # Excel counts UTF-16, of which a character is two units at most.
        if longest <= LONGEST_CELL // 2:
            return
        for at, text in enumerate(texts.to_pylist()):
            if text is not None and len(text.encode("utf-16-le")) // 2 > LONGEST_CELL:
                row = None if name is None else self.rows_written + at + 2
                raise TableValue(
                    f"a text above {LONGEST_CELL:,} characters, the most that Excel has in a cell",
                    row=row, column=name, hint="write CSV or Parquet instead",
                )  # fmt: skip


def text_form_of(values: pa.Array, name: str) -> pa.Array:
    """Return the values' texts. Raises: TableValue for a date that has none."""
    try:
        return text_form(values)
    except ValueError:
        raise TableValue("a date or time that has no text here", column=name) from None


def _as_numbers(values: pa.Array) -> tuple[pa.Array | None, pa.Array, int]:
    """Return which values Excel holds exactly as numbers, those numbers' texts, and their style.

    None for a type of which it holds none.
    """
    kind = value_type(values.type)
    if pa.types.is_integer(kind):
        return _within(values, LOST_DIGITS), values.cast(pa.large_string()), _GENERAL
    if pa.types.is_floating(kind):
        wide = values.cast(pa.float64()) if not pa.types.is_float16(kind) else _widened(values)
        return pc.is_finite(wide), _shortest(wide), _GENERAL
    if pa.types.is_decimal(kind) and kind.precision <= _PRECISION and kind.scale in _SCALES:
        fits = pa.array([True] * len(values))
        return fits, values.cast(pa.large_string()), _DECIMALS + kind.scale
    if pa.types.is_date32(kind):
        days = values.cast(pa.int32()).cast(pa.int64())
        fits = pc.and_(pc.greater_equal(days, _FIRST_DAY), pc.less_equal(days, _LAST_DAY))
        return fits, pc.add(days, _SERIAL_OF_1970).cast(pa.large_string()), _DATE
    if pa.types.is_timestamp(kind) and kind.tz is None:
        return _in_days(values, kind.unit, _MOMENT)
    if pa.types.is_time(kind):
        return _in_days(values, kind.unit, _TIME)
    if pa.types.is_duration(kind):
        return _in_days(values, kind.unit, _SPAN)
    return None, values, _TEXT


def _in_days(values: pa.Array, unit: str, style: int) -> tuple[pa.Array, pa.Array, int]:
    """Return times as days, if they are whole milliseconds."""
    per_ms = {"s": 0.001, "ms": 1, "us": 1_000, "ns": 1_000_000}[unit]
    counts = values.view(pa.int32() if values.type.bit_width == 32 else pa.int64()).cast(pa.int64())
    if unit == "s":
        fits = _within(counts, 10**12)
        ms = pc.multiply(pc.if_else(fits, counts, 0), 1_000)
    else:
        ms = pc.divide(counts, int(per_ms))
        fits = pc.equal(pc.multiply(ms, int(per_ms)), counts)
    low, high = {
        _MOMENT: (_FIRST_DAY * DAY_MS, (_LAST_DAY + 1) * DAY_MS - 1), _TIME: (0, DAY_MS - 1),
        _SPAN: (-_LAST_DAY * DAY_MS, _LAST_DAY * DAY_MS),
    }[style]  # fmt: skip
    fits = pc.and_(fits, pc.and_(pc.greater_equal(ms, low), pc.less_equal(ms, high)))
    offset = _SERIAL_OF_1970 if style == _MOMENT else 0
    days = pc.add(pc.divide(ms.cast(pa.float64(), safe=False), float(DAY_MS)), float(offset))
    return fits, _shortest(days), style


def _within(values: pa.Array, most: int) -> pa.Array:
    if pa.types.is_unsigned_integer(values.type):
        return pc.less(values.cast(pa.uint64()), pa.scalar(most, pa.uint64()))
    wide = values.cast(pa.int64())
    return pc.and_(pc.greater(wide, -most), pc.less(wide, most))


def _widened(values: pa.Array) -> pa.Array:
    import numpy as np

    floats = values.to_numpy(zero_copy_only=False).astype(np.float64)
    return pa.array(floats, pa.float64(), mask=pc.is_null(values).to_numpy(zero_copy_only=False))


def _shortest(values: pa.Array) -> pa.Array:
    return values.cast(pa.large_string())


def _wrapped(head: str, values: pa.Array, tail: str) -> pa.Array:
    texts = values.cast(pa.large_string())
    return pc.binary_join_element_wise(_scalar(head), texts, _scalar(tail), _scalar(""))


def _filled(cells: pa.Array) -> pa.Array:
    return cells.fill_null(_EMPTY)


def _escaped(text: str | None) -> str | None:
    """Write what XML has no way to write as Excel does: _xHHHH_, also what looks like that."""
    if text is None:
        return None
    return escape(_UNFIT.sub(lambda found: f"_x{ord(found[0]):04X}_", text))


def _scalar(text: str) -> pa.Scalar:
    return pa.scalar(text, pa.large_string())


# --- the parts about the sheet


def _parts(sheet: str) -> dict[str, str]:
    """Return the smallest workbook about one sheet."""
    named: Any = escape(sheet, {'"': "&quot;"})
    main = f"{_KIND}.sheet.main+xml"
    return {
        "[Content_Types].xml": f'{_HEAD}<Types xmlns="{_PACKAGE}/content-types"><Default '
        'Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Default Extension="xml" ContentType="application/xml"/><Override PartName='
        f'"/xl/workbook.xml" ContentType="{main}"/><Override PartName="/xl/worksheets/sheet1.xml" '
        f'ContentType="{_KIND}.worksheet+xml"/><Override PartName="/xl/styles.xml" '
        f'ContentType="{_KIND}.styles+xml"/></Types>',
        "_rels/.rels": _relations(("officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": f'{_HEAD}<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets><sheet '
        f'name="{named}" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": _relations(
            ("worksheet", "worksheets/sheet1.xml"), ("styles", "styles.xml")
        ),
        "xl/styles.xml": _styles(),
    }  # fmt: skip


def _relations(*listed: tuple[str, str]) -> str:
    each = "".join(
        f'<Relationship Id="rId{number}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(listed, 1)
    )
    return f'{_HEAD}<Relationships xmlns="{_PACKAGE}/relationships">{each}</Relationships>'


def _styles() -> str:
    codes = [*_FORMATS, *("0" + "." * bool(scale) + "0" * scale for scale in _SCALES)]
    formats = "".join(
        f'<numFmt numFmtId="{164 + at}" formatCode="{code}"/>' for at, code in enumerate(codes)
    )
    used = "".join(
        f'<xf numFmtId="{164 + at if at else 0}" fontId="0" fillId="0" borderId="0" xfId="0" '
        'applyNumberFormat="1"/>'
        for at in range(len(codes))
    )
    plain = '<xf numFmtId="0" fontId="0" fillId="0" borderId="0"/>'
    return (
        f'{_HEAD}<styleSheet xmlns="{_MAIN}"><numFmts count="{len(codes)}">{formats}</numFmts>'
        '<fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>'
        '<fills count="2"><fill><patternFill patternType="none"/></fill>'
        '<fill><patternFill patternType="gray125"/></fill></fills>'
        '<borders count="1"><border/></borders>'
        f'<cellStyleXfs count="1">{plain}</cellStyleXfs>'
        f'<cellXfs count="{len(codes)}">{used}</cellXfs></styleSheet>'
    )
