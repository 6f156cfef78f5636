"""What the command line prints: escapes, figures, tables, words, bars."""

from __future__ import annotations

import io
import json
import sys
import unicodedata
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.cli import output
from client.cli.progress import progress_bar
from client.cli.rows import json_values, screen_values
from client.results import as_json
from client.results.data import UploadResult
from client.results.progress import Progress
from client.tables import TableValue
from tests.shared import vectors


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.threat("L6")
@given(st.text(st.characters(codec=None)))
def test_visible_text_has_nothing_that_a_terminal_acts_on(text: str) -> None:
    shown = output.visible(text)
    assert {unicodedata.category(each) for each in shown}.isdisjoint(
        {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Ann",
        "Zoë 李雷",
        "a b",
        "50 €",
        "数　据",
        "\\n",
        "[bold]x[/]",
        " a ",
        "محمد الفاتح",
        "नरेन्द्र",
        "அருண்",
        "ശ്രീ",
        "สมชาย",
        "ភ្នំពេញ",
        "김철수",
        "דָּוִד",
        "Nguyễn",
        "e\u0301",
        "葛\U000e0100城",
        "辻\ufe00",
        "❤\ufe0f",
        "☎\ufe0e 1",
        "1\ufe0f\u20e3",
        "\u1828\u180b",
        "⠓⠊",
    ],
)
def test_visible_leaves_honest_text_as_it_is(text: str) -> None:
    assert output.visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
        ("\u2028\ud800\U000e0001", "\\u2028\\ud800\\U000e0001"),
        ("\u3164", "\\u3164"),
        ("\u115f\u1160\uffa0", "\\u115f\\u1160\\uffa0"),
        ("\u2800\u034f\u17b4", "\\u2800\\u034f\\u17b4"),
        ("lease\ufe0f", "lease\\ufe0f"),
        ("\U000e0100", "\\U000e0100"),
        ("葛\U000e0100\U000e0101", "葛\U000e0100\\U000e0101"),
        ("\u2800\ufe0f", "\\u2800\\ufe0f"),
        ("a\u180b", "a\\u180b"),
        (" ", "\\x20"),
        ("\u3000 ", "\\u3000\\x20"),
    ],
)
def test_visible_escapes(text: str, shown: str) -> None:
    assert output.visible(text) == shown


def test_words_stand_in_three_rows_of_four() -> None:
    rows = output.rows_of_words("a bb ccc dddd e f g h i j k l")
    assert rows == ("a     bb    ccc   dddd", "e     f     g     h", "i     j     k     l")
    assert output.rows_of_words("") == ()


def test_figures_have_separators_and_units() -> None:
    assert output.counted(1, "record") == "1 record"
    assert output.counted(1_204_000, "record") == "1,204,000 records"
    assert output.counted(2, "batch", "batches") == "2 batches"
    assert [output.size(n) for n in (1, 1023, 1024, 5 * 1024**3)] == [
        "1 byte", "1,023 bytes", "1.0 KiB", "5.0 GiB",
    ]  # fmt: skip
    assert output.size(3_000 * 1024**4) == "3,000.0 TiB"
    assert [output.age(n) for n in (0, 59, 60, 7_199, 7_200, 86_400)] == [
        "0 s", "59 s", "1 min", "1 h", "2 h", "1 d",
    ]  # fmt: skip
    assert output.duration(1234.56) == "1,234.6 s"


def test_moments_are_in_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        assert output.moment(1_700_000_000) == "2023-11-15 06:13 CST"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_piped_table_is_plain_and_as_wide_as_it_needs_to_be(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.print_table(("name", "x"), [("n" * 300, "1"), (None, "\x1b[2J"), (("a", "b\n"), "")])
    lines = capsys.readouterr().out.split("\n")
    assert lines == [
        f"name{' ' * 298}x",
        f"{'n' * 300}  1",
        f"NULL{' ' * 298}\\x1b[2J",
        "a",
        "b\\n",
        "",
    ]


def test_on_a_terminal_a_table_fits_and_honours_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Tty()
    monkeypatch.setattr(sys, "stdout", screen)
    output.print_table(("name",), [("n" * 200,)])
    shown = screen.getvalue()
    assert shown.count("n") - 1 == 200
    assert all(len(line) <= 60 + len("\x1b[1m\x1b[0m") for line in shown.splitlines())
    assert "\x1b[3" not in shown  # no colour


def test_markup_and_emoji_codes_of_others_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table((":skull: [red]h[/red]",), [("[bold]:smile:[/bold]",)])
    assert capsys.readouterr().out == ":skull: [red]h[/red]\n[bold]:smile:[/bold]\n"


def test_facts_leave_out_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_facts([("a", 1), ("bcd", "x\ny"), ("gone", None)])
    assert capsys.readouterr().out == "a    1\nbcd  x\\ny\n"


def test_json_is_one_document_in_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"name": "\u202e李\x7f\udcff"})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"name": "\u202e李\x7f\udcff"}
    assert printed.isascii()
    assert printed.replace("\n", "").isprintable()


# --- cells


def chunked(values: list[object], kind: pa.DataType) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, kind)])


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, None, -(2**63)], pa.int64(), [1, None, -(2**63)]),
        ([True, None], pa.bool_(), [True, None]),
        ([1.5, None, float("inf"), 0.1], pa.float64(), [1.5, None, "inf", 0.1]),
        ([float("nan")], pa.float32(), ["nan"]),
        (["a", None, ""], pa.string(), ["a", None, ""]),
        ([b"\x00\xff", None], pa.binary(), ["AP8=", None]),
        ([Decimal("1.50"), None], pa.decimal128(9, 2), ["1.50", None]),
        ([0, None], pa.timestamp("s", "UTC"), ["1970-01-01T00:00:00Z", None]),
        ([0], pa.date32(), ["1970-01-01"]),
        (["a", "a", None], pa.dictionary(pa.int8(), pa.string()), ["a", "a", None]),
        ([7, None], pa.dictionary(pa.int8(), pa.int32()), [7, None]),
        ([None], pa.null(), [None]),
    ],
)
def test_cells_in_json(values: list[object], kind: pa.DataType, expected: list[object]) -> None:
    found = json_values("f", chunked(values, kind))
    assert found == expected
    assert [type(each) for each in found] == [type(each) for each in expected]
    assert json.loads(json.dumps(found, allow_nan=False)) == expected


def test_cells_on_the_screen_are_escaped_and_nulls_are_not_empty() -> None:
    column = chunked(["\x1b[2J", None, "", "a\nb"], pa.string())
    assert screen_values("f", column) == ["\\x1b[2J", None, "", "a\\nb"]


def test_a_date_without_a_text_says_which_column() -> None:
    column = chunked([2**62], pa.timestamp("s"))
    for shown in (screen_values, json_values):
        with pytest.raises(TableValue, match="column 'born'") as caught:
            shown("born", column)
        assert caught.value.hint is not None
        assert "--out" in caught.value.hint


def test_no_naughty_string_reaches_the_screen_raw(capsys: pytest.CaptureFixture[str]) -> None:
    naughty = vectors("blns", "blns.json")
    shown = screen_values("f", chunked(naughty, pa.string()))
    output.print_table(("text",), [(each,) for each in shown])
    printed = capsys.readouterr().out
    assert len(naughty) == 515
    raw = {each for each in printed if unicodedata.category(each) in ("Cc", "Cf", "Zl", "Zp")}
    assert raw == {"\n"}
    assert printed.count("\n") == 1 + len(naughty)


# --- progress


def test_a_bar_is_for_terminals_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bar() as show:
        show(Progress("sealing", 5, 10, "records"))
    assert capsys.readouterr() == ("", "")


def test_a_bar_says_how_far_and_how_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    screen = Tty()
    monkeypatch.setattr(sys, "stderr", screen)
    with progress_bar() as show:
        for done in (1_000, 2_000, 9_000):
            show(Progress("sealing", done, 9_500, "records"))
        show(Progress("counting", 3, None, "blocks"))
    shown = screen.getvalue()
    assert "sealing" in shown
    assert "9,000 of 9,500 records, " in shown
    assert "/s" in shown
    assert "3 blocks" in shown


def test_results_of_the_sdk_are_json() -> None:
    done = UploadResult("c", "n", 1, 2, 3, 4, 5, 6, 0.5, ("a note",))
    assert json.loads(json.dumps(as_json(done)))["notes"] == ["a note"]


def test_nothing_is_drawn_before_there_is_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Tty()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress_bar():
        assert terminal.getvalue() == ""
    assert terminal.getvalue() == ""


@given(st.integers(-(2**63), 2**64))
def test_any_time_is_shown(unix: int) -> None:
    assert output.moment(unix)


def test_a_time_beyond_the_calendar_is_told_in_seconds() -> None:
    assert output.moment(0).startswith("19")
    assert output.moment(2**40) == "1,099,511,627,776 s after 1970"
