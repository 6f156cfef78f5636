"""CSV out: what was read comes back equal, cell for cell, or is refused.

Whole columns are quoted and joined as Arrow arrays. A cell is refused rather than changed where
the file could not give it back: NUL, a character that the encoding lacks, a null where the
format has no text for one, a text that would be taken for a null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from client.tables.csv_encoding import BOM
from client.tables.csv_format import CsvFormat
from client.tables.csv_layout import NUMBER_PATTERN
from client.tables.defusing import Defuser, harmless_format, is_wide, shows_other_marks, unseen
from client.tables.errors import TableValue
from client.tables.sink import Sink
from client.tables.source import Column
from client.tables.text_forms import text_form


class CsvSink(Sink):
    """A CSV file in the format given; with `defuse` in `harmless_format`, and cells changed."""

    def __init__(
        self,
        path: Path,
        columns: Sequence[Column],
        written: CsvFormat,
        *,
        overwrite: bool,
        defuse: bool = False,
    ) -> None:
        self._format = harmless_format(written) if defuse else written
        self._defuser = Defuser(written.delimiter) if defuse else None
        super().__init__(path, columns, overwrite=overwrite)
        if defuse and (written.before or written.after):
            self.note("the lines above and below the table are left out, as they may hold formulas")
        written = self._format
        marks = (f"\\x{{{ord(mark):x}}}" for mark in written.delimiter + written.quote)
        self._special = f"[{''.join(marks)}\\r\\n]"
        self._wide = is_wide(written.encoding)
        self._begun = False
        try:
            self._write_header()
        except BaseException:
            self.abort()
            raise

    def _write_header(self) -> None:
        written = self._format
        start = (BOM if written.bom else "") + written.before
        self._file.stream.write(self._encoded(start.encode(), lambda: TableValue(
            f"the lines above the header have a character that {written.encoding} lacks"
        )))  # fmt: skip
        if not written.header:
            return
        named = self.columns[: len(self.columns) - written.unheaded]
        names = [written.renamed.get(column.name, column.name) for column in named]
        if any("\0" in name for name in names):
            raise TableValue("a NUL character in a column's name; CSV has none", row=1)
        texts = self._defused(pa.array(names, pa.large_string()))
        cells = self._quoted(texts, None).to_pylist()
        if not start and names[0].startswith(BOM) and cells[0] == names[0] and written.quote:
            # else it would be read as a byte order mark
            cells[0] = f"{written.quote}{cells[0]}{written.quote}"
        header = written.delimiter.join(cells)
        self._begun = True
        self._file.stream.write(self._encoded(header.encode(), lambda: TableValue(
            f"a column's name has a character that {written.encoding} lacks", row=1
        )))  # fmt: skip

    def _write(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        named = zip(batch.schema.names, batch.columns, strict=True)
        texts = [self._defused(self._texts(name, array)) for name, array in named]
        fields = [
            self._field(array, name) for name, array in zip(batch.schema.names, texts, strict=True)
        ]
        rows = pc.binary_join_element_wise(*fields, _scalar(self._format.delimiter))
        whole = pa.LargeListArray.from_arrays(pa.array([0, len(rows)], pa.int64()), rows)
        joined = pc.binary_join(whole, _scalar(self._format.newline))[0].as_buffer()
        newline = self._format.newline.encode() if self._begun else b""
        self._begun = True
        content = newline + joined.to_pybytes()
        self._file.stream.write(self._encoded(content, lambda: self._unencodable(texts)))

    def _finish(self) -> None:
        written = self._format
        ends = self._begun and (written.final_newline or bool(written.after))
        last = (written.newline if ends else "") + written.after
        self._file.stream.write(self._encoded(last.encode(), lambda: TableValue(
            f"the lines below the rows have a character that {written.encoding} lacks"
        )))  # fmt: skip
        if self._defuser is not None and self._defuser.changed:
            self.note(self._defuser.told())

    def _defused(self, texts: pa.Array) -> pa.Array:
        """Make texts harmless where that is asked, with what is written for a null among them."""
        if self._defuser is None:
            return texts
        null_text = self._format.null_text
        return self._defuser.defused(texts.fill_null(null_text) if null_text else texts)

    def _texts(self, name: str, array: pa.Array) -> pa.Array:
        try:
            texts = text_form(array)
        except ValueError:
            raise TableValue("a date or time that has no text here", column=name) from None
        null_text = self._format.null_text
        if null_text is None:
            self._refuse(texts.is_null(), name, "a null, for which the format has no text",
                         "give the format a null_text")  # fmt: skip
        elif null_text:
            self._refuse(pc.equal(texts, null_text), name, "a text that stands for null here",
                         "give the format another null_text")  # fmt: skip
        self._refuse(pc.match_substring(texts, "\0"), name, "a NUL character; CSV has none",
                     "write Parquet instead")  # fmt: skip
        return texts

    def _refuse(self, unfit: pa.Array, name: str | None, message: str, hint: str) -> None:
        at = pc.index(unfit, True).as_py()
        if at >= 0:
            row = 1 if name is None else self._row(at)
            raise TableValue(message, row=row, column=name, hint=hint)

    def _field(self, texts: pa.Array, name: str) -> pa.Array:
        return self._quoted(texts, name).fill_null(self._format.null_text or "")

    def _quoted(self, texts: pa.Array, name: str | None) -> pa.Array:
        """Quote the cells that must be, or all; an empty one where it could pass for a null."""
        needed = pc.match_substring_regex(texts, self._special)
        if self._format.null_text == "" or len(self.columns) == 1:
            needed = pc.or_(needed, pc.equal(texts, ""))
        quote = self._format.quote
        if not quote:
            self._refuse(needed, name, "a text that has to be quoted, and the format has no quotes",
                         "name a --quote, or another --delimiter")  # fmt: skip
            return texts
        doubled = pc.replace_substring(texts, quote, quote * 2)
        quoted = pc.binary_join_element_wise(_scalar(quote), doubled, _scalar(quote), _scalar(""))
        if self._format.quoting == "all":
            return quoted
        if self._format.quoting == "nonnumeric":
            needed = pc.or_(needed, pc.invert(pc.match_substring_regex(texts, NUMBER_PATTERN)))
        return pc.if_else(needed, quoted, texts)

    def _encoded(self, content: bytes, error: Callable[[], TableValue]) -> bytes:
        codec = self._format.encoding
        if codec == "utf-8":
            return content
        text = content.decode()
        encoded = _encoded_exactly(text, codec)
        if encoded is None:
            raise error()
        if self._defuser is not None and not self._wide and shows_other_marks(text, encoded):
            raise unseen(codec)
        return encoded

    def _unencodable(self, columns: Sequence[pa.Array]) -> TableValue:
        """Find the first cell that the encoding cannot hold."""
        codec = self._format.encoding
        message = f"a character that {codec} lacks"
        hint = "write UTF-8, or Parquet"
        for column, texts in zip(self.columns, columns, strict=True):
            for at, text in enumerate(texts.to_pylist()):
                if text is not None and _encoded_exactly(text, codec) is None:
                    return TableValue(message, row=self._row(at), column=column.name, hint=hint)
        return TableValue(message, hint=hint)

    def _row(self, index: int) -> int:
        return self.rows_written + index + 2


def _encoded_exactly(text: str, codec: str) -> bytes | None:
    """Encode, or None where the text would not come back: some codecs fold characters."""
    try:
        encoded = text.encode(codec)
        return encoded if encoded.decode(codec) == text else None
    except UnicodeError:
        return None


def _scalar(text: str) -> pa.Scalar:
    return pa.scalar(text, pa.large_string())
