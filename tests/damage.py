"""Damaged and hostile files, read in a process of its own that may use little memory and time.

`python -m tests.damage KIND FIRST LAST` writes a small table of a kind, changes some of its bytes
by each seed from FIRST on, and reads what comes of it. It prints one JSON line: how many were
tables, how many errors of ours by their code, what else was raised, the seconds of the slowest,
and how much memory the worst of them took beyond the first. A file that ended the process, or
took more than the limits, is what the caller sees as a failure.
"""

from __future__ import annotations

import io
import json
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from client.tables import ReadOptions, TableError, open_sink, open_source
from protocol.limits import MIB

MOST_ADDRESSES: Final = 2_048 * MIB
MOST_SECONDS: Final = 300

TABLE: Final = pa.table({
    "id": pa.array(range(60)),
    "name": pa.array([f"Name {n % 7}, «é» \"x\"" for n in range(60)]),
    "spent": pa.array([n / 7 if n % 5 else None for n in range(60)]),
    "when": pa.array([n * 86_400_000 for n in range(60)], pa.timestamp("ms")),
    "ok": pa.array([n % 2 == 0 for n in range(60)]),
})  # fmt: skip


# --- one small table of each kind


def _by_sink(suffix: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / f"whole{suffix}"
        source = open_source(TABLE)
        with open_sink(path, source.columns) as sink:
            for batch in source.batches(20):
                sink.write(batch)
            sink.commit()
        return path

    return write


def _shared_texts(folder: Path) -> Path:
    """A workbook as Excel writes it: texts shared, styles, relations."""
    from tests.test_tables_excel import MAIN, STYLES, workbook

    texts = "".join(f"<si><t>text {n}</t></si>" for n in range(20))
    rows = "".join(
        f'<row r="{n + 2}"><c r="A{n + 2}" t="s"><v>{n % 20}</v></c>'
        f'<c r="B{n + 2}" s="{n % 5}"><v>{n}.5</v></c></row>'
        for n in range(40)
    )
    header = '<row r="1"><c r="A1" t="s"><v>1</v></c><c r="B1" t="s"><v>2</v></c></row>'
    path = folder / "whole.xlsx"
    shared = f'<sst xmlns="{MAIN}">{texts}</sst>'
    content = workbook(header + rows, xl__styles_xml=STYLES, xl__sharedStrings_xml=shared)
    path.write_bytes(content)
    return path


def _packed_parquet(folder: Path) -> Path:
    path = folder / "whole.parquet"
    pq.write_table(TABLE, path, compression="zstd", row_group_size=25, data_page_version="2.0")
    return path


def _contacts(folder: Path) -> Path:
    from tests.test_tables_lines import CARDS

    path = folder / "whole.vcf"
    path.write_text(CARDS * 3)
    return path


def _indexed_sqlite(folder: Path) -> Path:
    path = folder / "whole.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA page_size = 512")
        database.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, x TEXT, y)")
        database.execute("CREATE INDEX i ON t (x)")
        rows = [(n, f"text {n}" * (n % 40), n * 0.5) for n in range(80)]
        database.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
        database.commit()
    return path


KINDS: Final[Mapping[str, Callable[[Path], Path]]] = {
    "csv": _by_sink(".csv"),
    "xlsx": _by_sink(".xlsx"),
    "xlsx-shared": _shared_texts,
    "parquet": _by_sink(".parquet"),
    "parquet-packed": _packed_parquet,
    "sqlite": _indexed_sqlite,
    "arrow": _by_sink(".arrow"),
    "arrows": _by_sink(".arrows"),
    "jsonl": _by_sink(".jsonl"),
    "vcf": _contacts,
}


# --- damage


def damaged(content: bytes, seed: int) -> bytes:
    """Change, cut, repeat or move some bytes; inside of a zip archive as well as of the whole."""
    draw = random.Random(seed)
    if content.startswith(b"PK") and draw.random() < 0.6:
        return _inside(content, draw)
    return _changed(content, draw)


def _inside(content: bytes, draw: random.Random) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as whole, zipfile.ZipFile(packed, "w") as archive:
        names = whole.namelist()
        chosen = draw.choice(names)
        for name in names:
            part = whole.read(name)
            archive.writestr(name, _changed(part, draw) if name == chosen else part)
    return packed.getvalue()


def _changed(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5, 20))):
        at = draw.randrange(len(changed) + 1)
        match draw.randrange(5):
            case 0:
                changed[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                changed[at : at + 1] = draw.choice((b"\0", b"\xff", b'"', b"<", b"9", b"\n"))
            case 2:
                del changed[at : at + draw.randrange(9)]
            case 3:
                changed[at:at] = changed[at : at + draw.randrange(40)]
            case _:
                changed[at : at + 4] = draw.randbytes(4)
    if draw.random() < 0.1:
        del changed[draw.randrange(len(changed) + 1) :]
    return bytes(changed)


def _damage(content: bytes, target: Path, seed: int) -> Path:
    target.write_bytes(damaged(content, seed))
    return target


def read(path: Path) -> int:
    """Read a table from the beginning to the end; return how many rows it has."""
    source = open_source(path, ReadOptions(guess=True))
    return sum(batch.num_rows for batch in source.batches(1_000))


# --- bombs: small files that are large, or long, or deep


def bombs(folder: Path) -> None:
    """Write every bomb into a folder."""
    import bz2
    import gzip

    from tests.test_tables_excel import BILLION, HEADER, text, workbook

    def written(name: str, content: bytes) -> None:
        (folder / name).write_bytes(content)

    with closing(sqlite3.connect(folder / "endless view.sqlite")) as database:
        endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
        database.execute(f"CREATE VIEW v AS {endless}")
    line = b"a,b\n" + b"1,2\n" * 1_000_000
    much = b"a,b\n" + b"1,2\n" * 30_000_000
    dictionary = pa.DictionaryArray.from_arrays(
        pa.array([0] * 100_000, pa.int32()), pa.array(["A" * 1_000_000])
    )
    pq.write_table(
        pa.table({"a": dictionary}), folder / "a Parquet dictionary.parquet", store_schema=False
    )
    deep = b"[" * 1_000_000
    far = f'<row r="1">{text("a")}</row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t.csv", much)
    written("gzip.csv.gz", gzip.compress(much, 9))
    written("gzip in gzip.csv.gz", gzip.compress(gzip.compress(line)))
    written("bzip2.csv.bz2", bz2.compress(much))
    written("zip.zip", zipped.getvalue())
    written("spaces in XML.xlsx", workbook(HEADER + " " * 130_000_000))
    written("entities.xlsx", workbook("", xl__worksheets__s1_xml=BILLION))
    written("far cells.xlsx", workbook(far))
    written("deep XML.xlsx", workbook("<a>" * 500_000))
    written("a long text.xlsx", workbook(HEADER + f"<row>{text('x' * 20_000_000)}</row>"))
    written("deep JSON.jsonl", b'{"a": ' + deep)
    written("a quote never closed.csv", b'a,b\n1,"' + b"x\n" * 5_000_000)
    written("a line never ended.csv", b"a,b\n" + b"x" * 30_000_000)
    written("a folded property.vcf", b"BEGIN:VCARD\nFN:x\n" + b" xxxxxxxx\n" * 3_000_000)


# --- the process


def _report(
    folder: Path, files: Mapping[str, Callable[[], Path]], most_rows: int
) -> dict[str, Any]:
    outcomes: Counter[str] = Counter()
    slowest, before = 0.0, _memory()
    unknown: list[str] = []
    for name, file in files.items():
        path = file()
        started = time.process_time()
        try:
            _some(path, most_rows)
            outcomes["table"] += 1
        except TableError as error:
            outcomes[error.code] += 1
        except Exception as error:
            unknown.append(f"{name}: {type(error).__name__}: {error}"[:200])
        slowest = max(slowest, time.process_time() - started)
    return {"outcomes": dict(outcomes), "unknown": unknown, "slowest": round(slowest, 2),
            "grown_mib": (_memory() - before) // 1024}  # fmt: skip


def _some(path: Path, most_rows: int) -> None:
    source = open_source(path, ReadOptions(guess=True, on_error="stop"))
    rows = 0
    for batch in source.batches(1_000):
        rows += batch.num_rows
        if rows >= most_rows:
            return


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(kind: str, first: int, last: int) -> None:
    """Read damaged files by their seeds, or all bombs, and print what came of them."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if kind == "bombs":
            # By another process, whose memory is not that of whoever reads them.
            subprocess.run([sys.executable, "-m", "tests.damage", "write", name, "0"], check=True)
            files = {each.stem: partial(Path, each) for each in sorted(folder.iterdir())}
            most_rows = 500
        else:
            whole = KINDS[kind](folder)
            assert read(whole) > 0
            target = folder / f"damaged{whole.suffix}"
            change = partial(_damage, whole.read_bytes(), target)
            files = {str(seed): partial(change, seed) for seed in range(first, last)}
            most_rows = 1_000_000
        resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES, MOST_ADDRESSES))
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
        print(json.dumps(_report(folder, files, most_rows)))


if __name__ == "__main__":
    if sys.argv[1] == "write":
        bombs(Path(sys.argv[2]))
    else:
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
