"""JSON lines out: an object a row; numbers and booleans as such, what came nested nested again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from client.tables.arrow_types import value_type
from client.tables.errors import TableValue
from client.tables.sink import Sink
from client.tables.source import Column
from client.tables.text_forms import text_form


class JsonLinesSink(Sink):
    """A file of JSON lines. Decimals, dates and bytes are texts, so that no reader rounds them."""

    def __init__(
        self,
        path: Path,
        columns: Sequence[Column],
        came: Mapping[str, Any] | None = None,
        *,
        overwrite: bool,
    ) -> None:
        super().__init__(path, columns, overwrite=overwrite)
        literal = (came or {}).get("literal")
        self._literal = frozenset(literal) if isinstance(literal, Mapping) else frozenset()
        self._keys = [f"{encode_basestring(column.name)}: " for column in columns]

    def _write(self, batch: pa.RecordBatch) -> None:
        named = zip(batch.schema.names, batch.columns, strict=True)
        columns = [self._literals(name, array) for name, array in named]
        lines = [
            "{" + ", ".join(map("".join, zip(self._keys, row, strict=True))) + "}\n"
            for row in zip(*columns, strict=True)
        ]
        self._file.stream.write("".join(lines).encode())

    def _finish(self) -> None:
        """Every line ended in its line end."""

    def _literals(self, name: str, array: pa.Array) -> list[str]:
        kind = value_type(array.type)
        try:
            texts = text_form(array)
        except ValueError:
            raise TableValue("a date or time that has no text here", column=name) from None
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if pa.types.is_floating(kind):
            at = pc.index(pc.match_substring_regex(texts, "[nf]"), True).as_py()
            if at >= 0:
                raise TableValue(
                    "a number that JSON has not (NaN or infinity)",
                    row=self.rows_written + at + 1,
                    column=name,
                    hint="write Parquet or CSV",
                )
        if number or pa.types.is_boolean(kind):
            return ["null" if text is None else text for text in texts.to_pylist()]
        literal = _as_it_came if name in self._literal else encode_basestring
        return ["null" if text is None else literal(text) for text in texts.to_pylist()]


def _as_it_came(text: str) -> str:
    """Return JSON text as JSON, and one that is none, as a later writer may have put in, quoted."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return encode_basestring(text)
    return text.replace("\r", " ").replace("\n", " ")
