"""What `upload` shows before it sends anything, what it asks, and how a script decides."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pyarrow as pa
import pytest

from client.cli import outlook, table_options
from client.cli.outlook import MASK, Outlook, advice
from client.errors import Interrupted
from client.plans import plan_upload
from client.results.data import PlannedField, UploadPlan
from client.tables import ReadOptions, TableRagged, open_source
from client.tables.findings import NO_ROWS
from tests.deals import cheap_keyrings
from tests.hangs import HANGS_SECONDS
from tests.real_commands import Ended, Server, command, environment, one_server, quickly

CRM = (
    "客户名单\n姓名,城市,身份证号,备注\n张三,上海,110101199003070000,\n"
    "李四,北京,44010619,VIP\n合计,,,2\n"
)
FLAGS = ("--class", "姓名=general", "--class", "身份证号=core")


server = pytest.fixture(scope="module")(one_server)


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Iterator[Callable[..., Ended]]:
    with cheap_keyrings():
        home = ("--home", tmp_path / "home")
        create = ("vault", "create", *server.create, "--title", "Lark", "--name", "Sue")
        quickly(*home, "--json", *create).ok()
        yield lambda *arguments: quickly(*home, *arguments)


@pytest.fixture
def crm(tmp_path: Path) -> Path:
    path = tmp_path / "crm.csv"
    path.write_bytes(CRM.encode("gb18030"))
    return path


PLAN = UploadPlan("crm", None, (PlannedField("a", "string", "core"),) * 4)


class Terminal:
    """A screen that says it is one."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    made = Terminal()
    monkeypatch.setattr(outlook, "sys", SimpleNamespace(stderr=made))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "dumb")
    return made


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def outlook_of(path: Path, **classes: str) -> Outlook:
    source = open_source(path, ReadOptions(guess=True))
    plan = plan_upload(source, "t", {}, None)
    every = {
        each.name: PlannedField(each.name, each.type, classes.get(each.name, "sensitive"))
        for each in plan.source.columns
    }
    return Outlook(source, every)


# --- what is shown


def test_everything_found_is_shown_with_the_first_rows_and_core_is_masked(
    crm: Path, screen: Terminal
) -> None:
    outlook_of(crm, 姓名="general", 身份证号="core").print()
    shown = plain(screen.text)
    for words in (
        "crm.csv 4 fields,", "? encoding gb18030 a guess by its bytes (Chinese)",
        "--encoding gb18030", "✓ delimiter comma", "? header line 2",
        "line 1 looks like a title block", "--header-row 2", "? footer 1 line", "--footer 1",
        "! above the header: 1 line, kept beside the rows", "张三", "上海", "VIP",
    ):  # fmt: skip
        assert words in re.sub(" +", " ", shown), words
    assert "110101199003070000" not in shown
    row = next(line for line in shown.splitlines() if line.startswith("身份证号"))
    assert row.split() == ["身份证号", "core", "string", MASK, MASK]
    named = next(line for line in shown.splitlines() if line.startswith("姓名"))
    assert named.split() == ["姓名", "general", "string", "张三", "李四"]


def test_what_looks_core_is_pointed_out_and_masked_until_it_has_a_class(
    tmp_path: Path, screen: Terminal
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("name,cc,phone\nAnn,4111111111111111,10012345678\n")
    source = open_source(path)
    fields = {
        "name": PlannedField("name", "string", "general"),
        "cc": PlannedField(
            "cc", "string", "sensitive", "bank cards or accounts", "its values", "core"
        ),
        "phone": PlannedField(
            "phone", "string", "general", "phone numbers", "its name", "sensitive"
        ),
    }
    Outlook(source, fields).print()
    shown = re.sub(" +", " ", plain(screen.text).replace("\n", " "))
    assert "! column 'cc' looks like bank cards or accounts, by its values: it goes in as" in shown
    assert "--class cc=core" in shown
    assert "! column 'phone' looks like phone numbers" in shown
    assert "4111111111111111" not in shown
    assert "10012345678" in shown  # what would be sensitive is shown, as sensitive cells are
    rows = [line.split() for line in plain(screen.text).splitlines()]
    assert ["cc", "sensitive", "(core?)", "string", MASK] in rows


@pytest.mark.parametrize("width", [24, 40, 50, 60, 80, 100, 140])
def test_the_class_is_shown_whole_whatever_the_width(
    width: int, tmp_path: Path, screen: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    path = tmp_path / "t.csv"
    row = "1990-01-01T10:00:00,a text that is so long that a screen does not hold it,1"
    path.write_text(f"moment,the note that somebody wrote about it,n\n{row}\n{row}\n{row}\n")
    planned = {
        "moment": PlannedField("moment", "string", "sensitive", "birthdays", "its name", "core"),
        "the note that somebody wrote about it": PlannedField("x", "string", "general"),
        "n": PlannedField("n", "dictionary<values=" + "x" * 40, "core"),
    }
    Outlook(open_source(path), planned).print()
    lines = plain(screen.text).splitlines()
    assert all(len(line) <= width for line in lines)
    at = next(n for n, line in enumerate(lines) if line.startswith("──")) - 1
    shown = lines[at + 2 : at + 5]
    for line, its_class in zip(shown, ("sensitive (core?)", "general", "core"), strict=True):
        assert f"   {its_class}" in line
    # What gives way first are the examples, then the type, and the name last.
    assert ("row 1" in lines[at]) >= ("row 2" in lines[at]) >= ("row 3" in lines[at])
    assert ("type" in lines[at]) >= ("row 1" in lines[at])
    assert ("row 3" in lines[at]) == (width >= 80)


def test_of_very_many_likenesses_the_first_are_told() -> None:
    many = [
        PlannedField(f"p {n}", "string", "general", "phone numbers", "its name", "sensitive")
        for n in range(14)
    ]
    told = advice(many)
    assert len(told) == 13
    assert told[0].endswith("unless you say --class 'p 0=sensitive'")
    assert told[-1] == "2 more columns look so"
    assert advice(many[:13])[-1] == "1 more column looks so"


def test_nothing_hostile_reaches_the_screen(tmp_path: Path, screen: Terminal) -> None:
    path = tmp_path / "t\x1b[2J.csv"
    path.write_text("a\u202e,b\x1b[2J\n\x1b[31mred\x9b,x\n")
    outlook_of(path).print()
    assert "\x1b[2J" not in screen.text
    assert "\u202e" not in screen.text
    assert "\\x1b[31mred" in screen.text


def test_long_names_and_cells_are_cut_and_nulls_told_apart(
    tmp_path: Path, screen: Terminal
) -> None:
    table = pa.table({
        "n" * 80: ["c" * 500, None, ""], "when": pa.array([2**62, 1, 2], pa.timestamp("s")),
        "kind": pa.array(["x", "y", "x"]).dictionary_encode(), "x": pa.array([None, None, b"\0"]),
    })  # fmt: skip
    path = tmp_path / "t.arrow"
    with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table)
    outlook_of(path, x="core").print()
    lines = [line.rstrip() for line in plain(screen.text).splitlines()]
    assert max(map(len, lines)) <= 100
    assert any("…" in line and "NULL" in line for line in lines)
    assert any(line.startswith("kind") and "string" in line for line in lines)
    assert any(line.split()[:2] == ["when", "sensitive"] and "..." in line for line in lines)


def test_off_a_terminal_no_cell_is_shown(crm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outlook_of(crm).print()
    out, err = capsys.readouterr()
    assert out == ""
    assert "gb18030" in err
    assert "--footer 1" in err
    assert "张三" not in err


def test_a_table_in_memory_is_shown_without_its_rows(screen: Terminal) -> None:
    source = open_source(pa.table({"a": ["secret"]}))
    Outlook(source, {"a": PlannedField("a", "string", "general")}).print()
    assert "1 row, 1 field" in screen.text
    assert "secret" not in screen.text


def test_a_row_that_cannot_be_read_stops_before_anybody_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1\n")
    with pytest.raises(TableRagged):
        outlook_of(path)


# --- what is asked


@pytest.mark.parametrize(("answer", "goes_on"), [(True, True), (False, False), (None, False)])
def test_the_answer_decides(
    crm: Path, monkeypatch: pytest.MonkeyPatch, answer: bool | None, goes_on: bool
) -> None:
    asked: list[tuple[str, Any]] = []

    def confirm(question: str, *, default: bool, err: bool) -> bool:
        asked.append((question, default))
        if answer is None:
            raise click.Abort
        return answer

    monkeypatch.setattr(click, "confirm", confirm)
    shown = outlook_of(crm)
    if goes_on:
        shown.confirm(PLAN, None)
    else:
        with pytest.raises(Interrupted, match="nothing was sent") as caught:
            shown.confirm(PLAN, None)
        assert caught.value.hint == (
            "say otherwise with --encoding, --delimiter, --header-row, --footer, --class"
        )
    assert asked == [("Is this right? Seal 4 fields into 'crm' and send them?", False)]


@pytest.mark.parametrize(
    ("replace_by", "question"),
    [(None, "Add them to the 1,204 records of 'crm'?"),
     ("n\x1b[2J", "Update the 1,204 records of 'crm' by 'n\\\\x1b[2J'?")],
)  # fmt: skip
def test_what_is_there_is_named_in_the_question(
    crm: Path, monkeypatch: pytest.MonkeyPatch, replace_by: str | None, question: str
) -> None:
    asked: list[str] = []

    def confirm(question: str, **_: Any) -> bool:
        asked.append(question)
        return True

    monkeypatch.setattr(click, "confirm", confirm)
    outlook_of(crm).confirm(replace(PLAN, there=1_204), replace_by)
    assert asked == [f"Is this right? {question}"]


def test_where_all_is_sure_yes_is_the_answer_of_a_bare_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.csv").write_text("a,b\nx,y\n")
    defaults: list[bool] = []

    def confirm(_: str, *, default: bool, err: bool) -> bool:
        defaults.append(default)
        return default

    monkeypatch.setattr(click, "confirm", confirm)
    outlook_of(tmp_path / "t.csv").confirm(PLAN, None)
    assert defaults == [True]


# --- scripts


def test_a_script_says_what_is_not_sure(crm: Path, run: Callable[..., Ended]) -> None:
    refused = run("upload", crm, "--collection", "crm", *FLAGS)
    assert refused.code == 1
    assert "row 1, byte 0: bytes that are not utf-8" in refused.err
    assert "--encoding gb18030" in refused.err
    unsure = run("upload", crm, "--collection", "crm", *FLAGS, "--encoding", "gb18030")
    assert unsure.code == 1
    assert "--header-row 2 --footer 1" in unsure.err
    said = ("--encoding", "gb18030", "--header-row", "2", "--footer", "1")
    done = run("upload", crm, "--collection", "crm", *FLAGS, *said)
    assert done.code == 0
    assert "2 records of 4 fields sealed and committed: crm" in done.out
    assert "张三" not in done.out + done.err


@pytest.fixture
def doubtful(crm: Path, run: Callable[..., Ended]) -> tuple[object, ...]:
    return ("upload", crm, "--collection", "crm", *FLAGS)


DECIDED = "--encoding gb18030 --header-row 2 --footer 1"


def test_a_rehearsal_in_a_script_tells_all_doubts_at_once_and_fails_as_the_upload(
    doubtful: tuple[object, ...], run: Callable[..., Ended]
) -> None:
    rehearsed, real = run(*doubtful, "--dry-run"), run(*doubtful)
    assert (rehearsed.code, real.code) == (1, 1)
    assert "would seal and send 2 records of 4 fields to a new collection: crm" in rehearsed.out
    assert "a guess by its bytes (Chinese)" in rehearsed.err
    assert f"hint: say so, or otherwise: {DECIDED}; --yes takes" in rehearsed.err
    told = run("--json", *doubtful, "--dry-run")
    assert told.code == 1
    assert DECIDED in json.loads(told.out)["error"]["hint"]
    for decided in (DECIDED.split(), ("--yes",)):
        done = run(*doubtful, "--dry-run", *decided)
        assert (done.code, "would seal and send 2 records" in done.out) == (0, True)
        assert "error" not in done.err


def test_a_rehearsal_on_a_terminal_shows_what_would_be_asked(
    doubtful: tuple[object, ...], run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.cli.upload.somebody_there", lambda: True)
    done = run(*doubtful, "--dry-run")
    assert done.code == 0
    assert f"a script would have to say: {DECIDED}; --yes takes it as it was found" in done.out
    sure = run(*doubtful, "--dry-run", *DECIDED.split())
    assert "a script would have to say" not in sure.out


def test_a_table_without_rows_goes_in_only_if_somebody_says_so(
    tmp_path: Path, run: Callable[..., Ended]
) -> None:
    bare = tmp_path / "bare.csv"
    bare.write_text("a,b\n")
    for more in (("--dry-run",), (), ("--default-class", "core")):
        refused = run("upload", bare, "--collection", "bare", *more)
        assert refused.code == 1
        assert "rows: none (columns and nothing below them: is the export whole" in refused.err
        assert "hint: --yes takes everything as it was found" in refused.err
    assert run("--json", "upload", bare, "--collection", "bare").code == 1
    done = run("upload", bare, "--collection", "bare", "--yes")
    assert "0 records of 2 fields sealed and committed: bare" in done.out
    assert "note    the table has columns and no rows\n" in done.out
    assert run("--json", "read", "bare").ok()["rows"] == []


def test_a_doubt_about_one_of_several_tables_is_a_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.csv").write_text("a,b\nx,y\n")
    defaults: list[bool] = []

    def confirm(_: str, *, default: bool, err: bool) -> bool:
        defaults.append(default)
        return True

    monkeypatch.setattr(click, "confirm", confirm)
    outlook_of(tmp_path / "t.csv").confirm(PLAN, None, (NO_ROWS,), ())
    assert defaults == [False]


def test_yes_takes_everything_as_it_was_found(crm: Path, run: Callable[..., Ended]) -> None:
    assert run("upload", crm, "--collection", "crm", "--yes").code == 0
    rows = run("--json", "read", "crm", "--where", "城市=北京").ok()["rows"]
    assert rows == [{"姓名": "李四", "城市": "北京", "身份证号": "44010619", "备注": "VIP"}]


def test_json_prints_one_document_and_nothing_beside(
    tmp_path: Path, run: Callable[..., Ended]
) -> None:
    (tmp_path / "t.csv").write_text("a,b\nx,y\n")
    done = run("--json", "upload", tmp_path / "t.csv", "--collection", "t")
    assert done.ok()["records"] == 1
    assert done.err == ""


def test_a_class_for_a_column_that_is_not_there_is_found_first(
    tmp_path: Path, run: Callable[..., Ended]
) -> None:
    (tmp_path / "t.csv").write_text("a,b\nx,y\n")
    refused = run("upload", tmp_path / "t.csv", "--collection", "t", "--class", "c=core")
    assert refused.code == 1
    assert "no column 'c'" in refused.err
    assert "✓" not in refused.err


def test_bad_rows_are_set_aside_beside_a_count(
    tmp_path: Path, run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("a,b\nx,y\nonly one\n")
    done = run("upload", "t.csv", "--collection", "t", "--on-error", "set-aside")
    assert done.code == 0
    assert "1 row was set aside in t.csv.set-aside (row 3)" in done.out
    assert (tmp_path / "t.csv.set-aside").read_text() == "only one\n"
    again = run("upload", "t.csv", "--collection", "u", "--set-aside", tmp_path / "bad.csv")
    assert again.code == 0
    assert (tmp_path / "bad.csv").read_text() == "only one\n"


def test_a_file_is_written_as_asked(tmp_path: Path, run: Callable[..., Ended]) -> None:
    (tmp_path / "t.csv").write_text("a,b\n=1,y\n")
    assert run("upload", tmp_path / "t.csv", "--collection", "t").code == 0
    out = tmp_path / "o.csv"
    asked = ("--delimiter", "tab", "--newline", "crlf", "--defuse")
    done = run("read", "t", "--out", out, *asked)
    assert done.code == 0
    assert out.read_bytes() == b'"a"\t"b"\r\n"\'=1"\t"y"\r\n'
    assert "apostrophe" in done.out
    assert run("read", "t", "--delimiter", ";").code == 2
    filtered = run("read", "t", "--where", "b=y")
    assert "1 record that meet it, of 1, verified" in filtered.err


@pytest.mark.parametrize(("typed", "meant"), [("tab", "\t"), ("\\t", "\t"), (";", ";")])
def test_a_tab_can_be_typed(typed: str, meant: str) -> None:
    assert table_options.delimiter(typed) == meant


# --- a terminal, for real


def test_on_a_terminal_it_shows_asks_and_sends(crm: Path, server: Server, tmp_path: Path) -> None:
    home = tmp_path / "home"
    create = ("vault", "create", *server.create, "--title", "Lark", "--name", "Sue")
    quickly("--json", "--home", home, *create).ok()
    for answer, ended, words in (("n", 130, "nothing was sent"), ("y", 0, "sealed and committed")):
        code, shown = typed(answer, "--home", home, "upload", crm, "--collection", "crm", *FLAGS)
        assert code == ended, shown
        assert "Is this right? Seal 4 fields into 'crm' and send them? [y/N]" in shown
        assert "张三" in shown
        assert "110101199003070000" not in shown
        assert words in shown


def typed(answer: str, *arguments: str | Path) -> tuple[int, str]:
    """Run the command at a terminal, and answer when it asks."""
    mine, theirs = pty.openpty()
    process = subprocess.Popen(
        [command(), *map(str, arguments)],
        env=environment(COLUMNS="110", LINES="50", TERM="xterm"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown, answered, until = b"", False, time.monotonic() + HANGS_SECONDS
    with contextlib.suppress(OSError):  # the other end closed: it ended
        while time.monotonic() < until and (piece := os.read(mine, 4_096)):
            shown += piece
            if not answered and b"send them?" in shown:
                os.write(mine, f"{answer}\n".encode())
                answered = True
    os.close(mine)
    return process.wait(HANGS_SECONDS), plain(shown.decode())
