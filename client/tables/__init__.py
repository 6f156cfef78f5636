"""Tables in and out of the client: files, databases, Arrow objects to cells, and back (SPEC 7).

`open_source` reads delimited text, Excel, SQLite, databases by their address, Parquet, Arrow IPC,
JSON lines, contacts, and anything with the Arrow PyCapsule interface; `open_sink` writes files.
`column_cells` and `cells_to_array` stand between a batch's columns and `client.columns.Cells`,
which sealing works on. Text is never guessed into numbers or dates, and what cannot be had back
exactly is refused with its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from client.lazily import finder

if TYPE_CHECKING:
    from client.tables.arrow_types import type_from_text, type_to_text
    from client.tables.cells import cells_to_array, column_cells
    from client.tables.errors import (
        TableChanged,
        TableEmpty,
        TableEncoding,
        TableError,
        TableExists,
        TableFormat,
        TablePackage,
        TableRagged,
        TableSyntax,
        TableTooLarge,
        TableType,
        TableUnreadable,
        TableUnsure,
        TableUnwritable,
        TableValue,
    )
    from client.tables.findings import Finding
    from client.tables.opening import open_sink, open_source
    from client.tables.options import ReadOptions, WriteOptions
    from client.tables.sink import Sink
    from client.tables.source import Column, Source, schema_of

__all__ = [
    "Column",
    "Finding",
    "ReadOptions",
    "Sink",
    "Source",
    "TableChanged",
    "TableEmpty",
    "TableEncoding",
    "TableError",
    "TableExists",
    "TableFormat",
    "TablePackage",
    "TableRagged",
    "TableSyntax",
    "TableTooLarge",
    "TableType",
    "TableUnreadable",
    "TableUnsure",
    "TableUnwritable",
    "TableValue",
    "WriteOptions",
    "cells_to_array",
    "column_cells",
    "open_sink",
    "open_source",
    "schema_of",
    "type_from_text",
    "type_to_text",
]

_HOMES = {
    "Column": "client.tables.source",
    "Finding": "client.tables.findings",
    "ReadOptions": "client.tables.options",
    "Sink": "client.tables.sink",
    "Source": "client.tables.source",
    "TableChanged": "client.tables.errors",
    "TableEmpty": "client.tables.errors",
    "TableEncoding": "client.tables.errors",
    "TableError": "client.tables.errors",
    "TableExists": "client.tables.errors",
    "TableFormat": "client.tables.errors",
    "TablePackage": "client.tables.errors",
    "TableRagged": "client.tables.errors",
    "TableSyntax": "client.tables.errors",
    "TableTooLarge": "client.tables.errors",
    "TableType": "client.tables.errors",
    "TableUnreadable": "client.tables.errors",
    "TableUnsure": "client.tables.errors",
    "TableUnwritable": "client.tables.errors",
    "TableValue": "client.tables.errors",
    "WriteOptions": "client.tables.options",
    "cells_to_array": "client.tables.cells",
    "column_cells": "client.tables.cells",
    "open_sink": "client.tables.opening",
    "open_source": "client.tables.opening",
    "schema_of": "client.tables.source",
    "type_from_text": "client.tables.arrow_types",
    "type_to_text": "client.tables.arrow_types",
}

if not TYPE_CHECKING:
    __getattr__ = finder(__name__, _HOMES)
