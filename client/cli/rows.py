"""Records on a screen or in a JSON document. Imports Arrow, so commands import it late."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from client.cli.output import counted, note, print_table, visible
from client.errors import InputError
from client.results.data import CollectionInfo
from client.tables.arrow_types import type_to_text
from client.tables.errors import TableValue
from client.tables.text_forms import text_form


@dataclass(frozen=True, slots=True, repr=False)
class Preview:
    """The first records of a collection, verified."""

    collection: CollectionInfo
    table: pa.Table
    filtered: bool = False

    @property
    def complete(self) -> bool:
        """Whether these are all the records there are."""
        return bool(self.table.num_rows == self.collection.records)

    def document(self) -> dict[str, Any]:
        """Return the records for JSON, with what they are of.

        Raises:
            InputError: two fields have one name, as only a careless writer's catalog has.
            TableValue: as `json_values`.
        """
        names = self.table.column_names
        twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
        if twice is not None:
            raise InputError(
                f"two fields are called {twice!r}, which rows in JSON cannot be told by",
                hint="Write the records to a file, with --out.",
            )
        columns = [json_values(name, self.table[name]) for name in names]
        return {
            "collection": self.collection.name,
            "collection_id": self.collection.collection_id,
            "fields": [{"name": f.name, "type": type_to_text(f.type)} for f in self.table.schema],
            "rows": [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)],
            "records": self.table.num_rows,
            "total": self.collection.records,
            "complete": self.complete,
        }

    def print(self) -> None:
        """Print the records as a table, and on stderr whether there are more."""
        names = self.table.column_names
        columns = [screen_values(*each) for each in zip(names, self.table.columns, strict=True)]
        print_table(self.table.column_names, list(zip(*columns, strict=True)))
        shown, total = self.table.num_rows, self.collection.records
        if self.filtered:
            note(f"{counted(shown, 'record')} that meet it, of {total:,}, verified; "
                 "--limit N shows more if there are, --out FILE writes all")  # fmt: skip
        elif self.complete:
            note(f"{counted(total, 'record')}, all verified")
        else:
            note(
                f"{shown:,} of {counted(total, 'record')}, verified; "
                "--limit N shows more, --out FILE writes all"
            )


def screen_values(name: str, column: pa.ChunkedArray) -> list[str | None]:
    """Return each value as visible text, None for null.

    Raises:
        TableValue: a date or time that has no text.
    """
    return [None if text is None else visible(text) for text in _texts(name, column)]


def json_values(name: str, column: pa.ChunkedArray) -> list[Any]:
    """Return each value as JSON has it; what JSON has no form for as its text.

    Raises:
        TableValue: a date or time that has no text.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return list(column.to_pylist())
    texts = _texts(name, column)
    return [_number(text) for text in texts] if pa.types.is_floating(kind) else list(texts)


def _number(text: str | None) -> float | str | None:
    """Return the number; infinities and what is none stay texts, for JSON has no others."""
    return float(text) if text is not None and math.isfinite(float(text)) else text


def _texts(name: str, column: pa.ChunkedArray) -> list[str | None]:
    try:
        return [text for chunk in column.chunks for text in text_form(chunk).to_pylist()]
    except ValueError as error:
        raise TableValue(
            "a date or time beyond the years that have a text",
            column=name,
            hint="Write the records to a Parquet file, with --out.",
        ) from error
