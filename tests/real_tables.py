"""Every table of the shared folder, the one command by which it goes in, and how that ends.

`make tables` plays all of them against a real server and prints them; `test_real_tables.py` does
the same as a test. What comes back is compared with what other readers than ours find in the
file: the standard library's csv with everything given, sqlite3, pyarrow, calamine.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.deals import cheap_keyrings
from tests.real_commands import Ended, Server, quickly, running
from tests.shared import SHARED

Rows = list[list[Any]]
DATA = SHARED / "data"
PLAYS_A_VAULT = 12


@dataclass(frozen=True)
class Case:
    """A file, the flags that its row of the README justifies, and what comes of it.

    `outcome` is rows x columns, or the code of the refusal. `reading` is what another reader
    has to be told: encoding, delimiter, quote, strict; lines above the header and below the rows.
    """

    file: str
    outcome: tuple[int, int] | str
    flags: tuple[str, ...] = ()
    reading: tuple[tuple[str, Any], ...] = ()

    @property
    def path(self) -> Path:
        return DATA.joinpath(*self.file.split("/"))

    @property
    def name(self) -> str:
        return " ".join([self.file, *self.flags])


def goes_in(file: str, rows: int, columns: int, *flags: str, **reading: Any) -> Case:
    return Case(file, (rows, columns), flags, tuple(reading.items()))


def refused(file: str, code: str, *flags: str) -> Case:
    return Case(file, code, flags)


NO_HEADER = ("--header-row", "0")

CASES = [
    goes_in("telco_churn.csv", 7_043, 21),
    goes_in("bank_marketing_semicolon.csv", 45_211, 17, delimiter=";"),
    goes_in("us-500.csv", 500, 12),
    goes_in("adventureworks_customers_bom.csv", 18_148, 13, encoding="utf-8-sig"),
    goes_in("superstore_us_cp1252.csv", 9_994, 21, "--encoding", "cp1252", encoding="cp1252"),
    goes_in("kylo_userdata1.csv", 1_000, 13),
    goes_in("kylo_userdata1.parquet", 1_000, 13),
    goes_in("synthea_patients.csv", 1_171, 25),
    goes_in("synthea_conditions.csv", 8_376, 6),
    goes_in("febrl4a_leading_space.csv", 5_000, 11),
    goes_in("historical_figures_50k.parquet", 50_578, 11),
    goes_in("adventureworks_sales_2017.xlsx", 2_630, 8),
    goes_in("zh_crm_gb18030.csv", 5_000, 20, "--encoding", "gb18030", "--footer", "1",
            encoding="gb18030", below=1),
    # --- databases: a table each
    *(goes_in("chinook.sqlite", rows, columns, "--table", table) for table, rows, columns in [
        ("Album", 347, 3), ("Artist", 275, 2), ("Customer", 59, 13), ("Employee", 8, 15),
        ("Genre", 25, 2), ("Invoice", 412, 9), ("InvoiceLine", 2_240, 5), ("MediaType", 5, 2),
        ("Playlist", 18, 2), ("PlaylistTrack", 8_715, 2), ("Track", 3_503, 9),
    ]),
    refused("chinook.sqlite", "table_format"),
    *(goes_in("northwind.sqlite", rows, columns, "--table", table) for table, rows, columns in [
        ("Categories", 8, 4), ("CustomerCustomerDemo", 0, 2), ("CustomerDemographics", 0, 2),
        ("Customers", 93, 11), ("Employees", 9, 18), ("EmployeeTerritories", 49, 2),
        ("Order Details", 2_155, 5), ("Orders", 830, 14), ("Products", 77, 10), ("Regions", 4, 2),
        ("Shippers", 3, 3), ("Suppliers", 29, 12), ("Territories", 53, 3),
    ]),
    # --- Chinese exports: title blocks, totals, tabs
    goes_in("zh_exports/alipay_gb2312_preamble.csv", 10, 13,
            "--encoding", "gb18030", "--header-row", "25", encoding="gb18030", above=24),
    goes_in("zh_exports/wechat_preamble.csv", 27, 11, "--header-row", "17", "--lax-quotes",
            above=16, strict=False),
    goes_in("zh_exports/wechat.xlsx", 27, 11, "--sheet", "example-wechat-records",
            "--header-row", "18", above=17),
    goes_in("zh_exports/wechat.xlsx", 27, 11, "--sheet", "Sheet1", "--header-row", "18",
            above=17),
    refused("zh_exports/wechat.xlsx", "table_format"),
    goes_in("zh_exports/jd_bom_preamble.csv", 26, 12, "--header-row", "22",
            encoding="utf-8-sig", above=21),
    goes_in("zh_exports/meituan_bom_crlf_preamble.csv", 29, 11, "--header-row", "20",
            encoding="utf-8-sig", above=19),
    goes_in("zh_exports/icbc_tabs.csv", 11, 16, "--header-row", "7", "--footer", "2",
            above=6, below=2),
    goes_in("zh_exports/citic.xls", 13, 8, "--header-row", "2", above=1),
    # --- csv-spectrum
    goes_in("nasty/csv-spectrum/comma_in_quotes.csv", 1, 5),
    goes_in("nasty/csv-spectrum/empty.csv", 2, 3),
    goes_in("nasty/csv-spectrum/empty_crlf.csv", 2, 3),
    goes_in("nasty/csv-spectrum/escaped_quotes.csv", 2, 2),
    goes_in("nasty/csv-spectrum/json.csv", 1, 2),
    goes_in("nasty/csv-spectrum/location_coordinates.csv", 1, 4),
    goes_in("nasty/csv-spectrum/newlines.csv", 3, 3),
    goes_in("nasty/csv-spectrum/newlines_crlf.csv", 3, 3),
    goes_in("nasty/csv-spectrum/quotes_and_newlines.csv", 2, 2),
    goes_in("nasty/csv-spectrum/simple.csv", 1, 3),
    goes_in("nasty/csv-spectrum/simple_crlf.csv", 1, 3),
    goes_in("nasty/csv-spectrum/utf8.csv", 2, 3),
    # --- csvkit
    refused("nasty/csvkit/bad.csv", "table_ragged"),
    refused("nasty/csvkit/bad_skip_lines.csv", "table_ragged", "--skip", "3"),
    goes_in("nasty/csvkit/blanks.csv", 1, 6),
    goes_in("nasty/csvkit/dummy_col_shuffled_ragged.csv", 1, 4),
    refused("nasty/csvkit/empty.csv", "table_empty"),
    goes_in("nasty/csvkit/ks_1033_data.csv", 1_575, 14),
    goes_in("nasty/csvkit/mac_newlines.csv", 2, 3),
    goes_in("nasty/csvkit/no_header_row.csv", 1, 3, *NO_HEADER, headed=False),
    refused("nasty/csvkit/null_byte.csv", "table_syntax"),
    goes_in("nasty/csvkit/optional_quote_characters.csv", 1, 3),
    goes_in("nasty/csvkit/test.xls", 5, 8),
    goes_in("nasty/csvkit/test.xlsx", 5, 8),
    refused("nasty/csvkit/test_empty_columns.csv", "table_ragged"),
    refused("nasty/csvkit/test_empty_columns_long_row.csv", "table_ragged"),
    refused("nasty/csvkit/test_empty_columns_short_row.csv", "table_ragged"),
    refused("nasty/csvkit/test_extra_header.csv", "table_ragged"),
    goes_in("nasty/csvkit/test_header_newline.csv", 1, 3),
    goes_in("nasty/csvkit/test_latin1.csv", 2, 3, "--encoding", "latin-1", encoding="latin-1"),
    goes_in("nasty/csvkit/test_no_leading_zeroes.csv", 1, 3),
    goes_in("nasty/csvkit/test_skip_lines.csv", 1, 3, above=3),
    goes_in("nasty/csvkit/test_utf16_big.csv", 2, 3, encoding="utf-16"),
    goes_in("nasty/csvkit/test_utf16_little.csv", 2, 3, encoding="utf-16"),
    goes_in("nasty/csvkit/test_utf8.csv", 2, 3),
    goes_in("nasty/csvkit/test_utf8_bom.csv", 2, 3, encoding="utf-8-sig"),
    # --- duckdb
    refused("nasty/duckdb/auto__backslash_escape.csv", "table_syntax", *NO_HEADER),
    goes_in("nasty/duckdb/auto__duplicate_header_col.csv", 2, 3),
    goes_in("nasty/duckdb/auto__duplicate_header_columns.csv", 2, 13),
    refused("nasty/duckdb/auto__empty_header.csv", "table_empty"),
    goes_in("nasty/duckdb/auto__missing_header_col.csv", 2, 3),
    goes_in("nasty/duckdb/auto__pipe_delim_quote.csv", 3, 3, *NO_HEADER, delimiter="|",
            headed=False),
    goes_in("nasty/duckdb/auto__quote_escape.csv", 3, 3, *NO_HEADER, delimiter="|", headed=False),
    goes_in("nasty/duckdb/auto__semicolon_escape.csv", 3, 3, *NO_HEADER, delimiter=";",
            headed=False),
    goes_in("nasty/duckdb/auto__semicolon_quote.csv", 3, 3, *NO_HEADER, delimiter=";",
            headed=False),
    goes_in("nasty/duckdb/auto__single_quote_backslash.csv", 3, 3, *NO_HEADER, delimiter="|",
            headed=False),
    goes_in("nasty/duckdb/auto__skip_row.csv", 1, 3, "--skip", "1", above=1),
    goes_in("nasty/duckdb/auto__tab_single_quote.csv", 3, 3, *NO_HEADER, "--quote", "'",
            delimiter="\t", quote="'", headed=False),
    goes_in("nasty/duckdb/auto__utf8bom.csv", 2, 2, encoding="utf-8-sig"),
    goes_in("nasty/duckdb/customer.csv", 10, 18, *NO_HEADER, headed=False),
    goes_in("nasty/duckdb/encodings__all_latin1.csv", 190, 1, *NO_HEADER, "--encoding", "latin-1",
            encoding="latin-1", headed=False),
    goes_in("nasty/duckdb/encodings__latin1.csv", 12, 2, "--encoding", "latin-1",
            encoding="latin-1"),
    goes_in("nasty/duckdb/encodings__only_utf16.csv", 5, 2, encoding="utf-16"),
    goes_in("nasty/duckdb/encodings__shift_jis.csv", 20, 2, "--encoding", "shift_jis",
            encoding="shift_jis"),
    goes_in("nasty/duckdb/encodings__utf16.csv", 20, 2, encoding="utf-16"),
    refused("nasty/duckdb/error__mid_null.csv", "table_ragged"),
    refused("nasty/duckdb/evil_nullpadding.csv", "table_ragged", *NO_HEADER, "--delimiter", ";"),
    goes_in("nasty/duckdb/issue2628_中文.csv", 3, 2, delimiter="|"),
    goes_in("nasty/duckdb/leading_zeros.csv", 6, 8),
    refused("nasty/duckdb/line_too_long.csv.gz", "table_too_large", *NO_HEADER),
    goes_in("nasty/duckdb/mixed_new_line.csv", 3, 3, *NO_HEADER, headed=False),
    goes_in("nasty/duckdb/multi_quote.csv", 7, 2),
    refused("nasty/duckdb/nullbyte.csv", "table_syntax"),
    refused("nasty/duckdb/nullbyte_header.csv", "table_syntax"),
    refused("nasty/duckdb/nullterm.csv", "table_syntax"),
    goes_in("nasty/duckdb/one_r_two.csv", 1, 1),
    goes_in("nasty/duckdb/people.csv", 4, 2, encoding="utf-8-sig"),
    goes_in("nasty/duckdb/phonenumbers.csv", 3, 1),
    goes_in("nasty/duckdb/real__greek_utf8.csv", 8, 3, *NO_HEADER, delimiter="|", headed=False),
    goes_in("nasty/duckdb/rejects__dr_who.csv", 1, 5),
    refused("nasty/duckdb/rejects__frankstein__nightmare.csv", "table_ragged"),
    refused("nasty/duckdb/test__invalid_utf.csv", "table_encoding", *NO_HEADER),
    refused("nasty/duckdb/test__invalid_utf_big.csv", "table_encoding"),
    refused("nasty/duckdb/test__invalid_utf_header.csv", "table_encoding"),
    goes_in("nasty/duckdb/test__long_escaped_value.csv", 1, 3, *NO_HEADER, "--delimiter", "🦆",
            delimiter="🦆", headed=False),
    goes_in("nasty/duckdb/test__long_escaped_value_unicode.csv", 1, 3, *NO_HEADER, headed=False),
    goes_in("nasty/duckdb/test__mixed_line_endings.csv", 3, 3, *NO_HEADER, headed=False),
    goes_in("nasty/duckdb/test__new_line_string_rn.csv", 3, 4, *NO_HEADER, delimiter="|",
            headed=False),
    goes_in("nasty/duckdb/test__quoted_newline.csv", 2, 2, *NO_HEADER, headed=False),
    goes_in("nasty/duckdb/test__test_long_line.csv", 2, 3, *NO_HEADER, headed=False),
    refused("nasty/duckdb/test__unterminated.csv", "table_syntax"),
    refused("nasty/duckdb/unescaped_quotes__some_escaped_some_not.csv", "table_syntax",
            *NO_HEADER),
    refused("nasty/duckdb/unescaped_quotes__unescaped_quote_new_line.csv", "table_syntax",
            *NO_HEADER),
    refused("nasty/duckdb/unquoted_escape__mixed.csv", "table_syntax", "--footer", "0"),
    # --- words, not tables
    refused("nasty/blns/blns.json", "table_ragged"),
    refused("nasty/blns/blns.txt", "table_unsure"),
    # --- contacts
    goes_in("vcard/John_Doe_ANDROID.vcf", 6, 20, "--encoding", "cp1252"),
    refused("vcard/John_Doe_ANDROID.vcf", "table_unsure"),
    goes_in("vcard/John_Doe_EVOLUTION.vcf", 1, 30),
    goes_in("vcard/John_Doe_GMAIL.vcf", 1, 21),
    goes_in("vcard/John_Doe_LOTUS_NOTES.vcf", 1, 37),
    goes_in("vcard/John_Doe_MS_OUTLOOK.vcf", 1, 35),
    goes_in("vcard/gmail-list.vcf", 3, 4),
    goes_in("vcard/outlook-2007.vcf", 1, 36),
    goes_in("vcard/rfc6350-example.vcf", 1, 23),
]  # fmt: skip


# --- playing one


@dataclass
class Stage:
    """A real server, and a seller with a vault in it."""

    server: Server
    folder: Path
    played: int = 0

    def command(self, *arguments: str | Path) -> Ended:
        home = self.folder / f"seller-{self.played // PLAYS_A_VAULT}"
        if not home.exists():
            create = ("vault", "create", *self.server.create, "--title", "Lark", "--name", "Sue")
            quickly("--json", "--home", home, *create).ok()
        return quickly("--json", "--home", home, *arguments)

    def play(self, case: Case) -> str:
        """Send a file and fetch it back; say what came of it. Raises: AssertionError."""
        self.played += 1
        name = f"{self.played} {case.file}"[:200]
        sent = self.command("upload", case.path, "--collection", name, *case.flags)
        if isinstance(case.outcome, str):
            assert sent.code == 1, (case.name, sent)
            told = json.loads(sent.out)["error"]
            assert told["code"] == case.outcome, (case.name, told)
            assert told["hint"], case.name
            return f"refused: {told['message']}"
        done = sent.ok()
        assert (done["records"], done["fields"]) == case.outcome, (case.name, done)
        names, rows = expected(case)
        suffix = {".xls": ".xlsx", ".vcf": ".parquet"}.get(case.path.suffix, case.path.suffix)
        out = self.folder / f"{self.played}{suffix}"
        self.command("read", name, "--out", out).ok()
        exact = case.path.suffix in (".csv", ".sqlite", ".parquet")
        read_names, read_rows = expected(case, out) if exact else came(out)
        assert read_names == names, case.name
        assert read_rows == rows, case.name
        same_bytes = case.path.suffix == ".csv" and out.read_bytes() == case.path.read_bytes()
        size = f"{case.outcome[0]:,} x {case.outcome[1]}"
        return f"{size}, equal{' to the byte' if same_bytes else ''}"


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    with cheap_keyrings(), running(folder) as server:
        yield Stage(server, folder)


# --- what others find in the file


def expected(case: Case, path: Path | None = None) -> tuple[list[str] | None, Rows]:
    """Return the header and the rows of a file, read by others than the code under test."""
    path = path or case.path
    match case.path.suffix:
        case ".parquet":
            return came(path)
        case ".sqlite":
            return _of_sqlite(path, case.flags[1])
        case ".xlsx" | ".xls":
            return _of_workbook(case, path)
        case ".vcf":
            return came_of_contacts(path, case.flags)
    return _of_csv(path, **dict(case.reading))


def came(path: Path) -> tuple[list[str] | None, Rows]:
    """Return what an exported file holds."""
    if path.suffix == ".xlsx":
        return _of_sheet(path, None, 0)
    table = pq.read_table(path)
    return table.column_names, [list(row.values()) for row in table.to_pylist()]


def _of_csv(
    path: Path,
    encoding: str = "utf-8",
    delimiter: str = ",",
    quote: str = '"',
    strict: bool = True,
    above: int = 0,
    below: int = 0,
    headed: bool = True,
) -> tuple[list[str] | None, Rows]:
    raw = path.read_bytes()
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    elif path.suffix == ".bz2":
        raw = bz2.decompress(raw)
    lines = list(io.StringIO(raw.decode(encoding), newline=""))
    csv.field_size_limit(1 << 22)
    chosen = lines[above : len(lines) - below]
    rows: Rows = [
        row
        for row in csv.reader(chosen, delimiter=delimiter, quotechar=quote, strict=strict)
        if row
    ]
    return (rows[0], rows[1:]) if headed else (None, rows)


def _of_sqlite(path: Path, table: str) -> tuple[list[str], Rows]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        quoted = table.replace('"', '""')
        cursor = database.execute(f'SELECT * FROM "{quoted}"')
        names = [column[0] for column in cursor.description]
        rows = [[(type(value).__name__, value) for value in row] for row in cursor]
    database.close()
    return names, rows


def _of_workbook(case: Case, path: Path) -> tuple[list[str] | None, Rows]:
    sheet = case.flags[1] if "--sheet" in case.flags else None
    return _of_sheet(path, sheet, dict(case.reading).get("above", 0))


def _of_sheet(path: Path, sheet: str | None, above: int) -> tuple[list[str], Rows]:
    """Read a sheet with calamine; a column that is not all of one kind is text."""
    import python_calamine

    workbook = python_calamine.CalamineWorkbook.from_path(path)
    page = workbook.get_sheet_by_name(sheet or workbook.sheet_names[0])
    header, *rows = page.to_python(skip_empty_area=False)[above:]
    width = max(at + 1 for row in [header, *rows] for at, cell in enumerate(row) if cell != "")
    listed = [[_plain(cell) for cell in row[:width]] for row in rows]
    names = [str(name) or f"column_{at}" for at, name in enumerate(header[:width], 1)]
    columns = [_one_kind(list(column)) for column in zip(*listed, strict=True)]
    return names, [list(row) for row in zip(*columns, strict=True)]


def _plain(cell: Any) -> Any:
    """Calamine has no empty cells beside empty texts, and dates with a time where there is none."""
    if cell == "":
        return None
    if isinstance(cell, date) and not isinstance(cell, datetime):
        return datetime(cell.year, cell.month, cell.day)
    return cell


def _one_kind(column: list[Any]) -> list[Any]:
    kinds = {type(cell) for cell in column if cell is not None}
    if len(kinds) < 2 or kinds == {int, float}:
        return column
    return [cell if cell is None or isinstance(cell, str) else _as_text(cell) for cell in column]


def _as_text(cell: Any) -> str:
    if isinstance(cell, datetime):
        return (
            cell.date().isoformat() if cell == datetime(*cell.timetuple()[:3]) else cell.isoformat()
        )
    return str(cell).removesuffix(".0")


def came_of_contacts(path: Path, flags: tuple[str, ...]) -> tuple[list[str], Rows]:
    """Contacts have no other reader here; that they are read rightly, their own tests say."""
    from client.tables import ReadOptions, open_source, schema_of

    source = open_source(path, ReadOptions(encoding=flags[1] if flags else None))
    table = pa.Table.from_batches(source.batches(100), schema_of(source.columns))
    return table.column_names, [list(row.values()) for row in table.to_pylist()]


# --- printed


def main() -> int:
    """Play every case and print the table; 1 if any ended otherwise than it says."""
    if not DATA.exists():
        print("the shared folder is not here (set SEALROOM_SHARED)", file=sys.stderr)
        return 0
    wrong = 0
    widest = max(len(case.name) for case in CASES)
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder)) as scene:
        for case in CASES:
            try:
                ended, mark = scene.play(case), " "
            except AssertionError as error:
                ended, mark = f"NOT AS EXPECTED: {str(error)[:200]}", "!"
                wrong += 1
            print(f"{mark} {case.name.ljust(widest)}  {ended}", flush=True)
    print(f"{len(CASES)} commands, {wrong} not as expected")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
