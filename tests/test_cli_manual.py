"""Manual pages: one for each command, with all that its help says, the same bytes every time."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest

from client.cli import main, manual
from tests.test_cli_exits import commands, contribute

REPO = Path(__file__).resolve().parent.parent
PAGES = manual.pages("sealroom 1.2.3")
PATHS = commands(main.cli)


def page_of(path: tuple[str, ...]) -> str:
    return PAGES["-".join(("sealroom", *path)) + ".1"]


def shown(page: str) -> str:
    """Return a page's text as `man` shows it, in one line, but for how it is laid out."""
    text = re.sub(r"^\\.(TH|SH|TP|PP|nf|fi).*$", "", page, flags=re.M)
    text = text.replace("\\fB", "").replace("\\fR", "").replace("\\&", "")
    text = text.replace("\\-", "-").replace("\\(dq", '"').replace("\\e", "\\")
    return " ".join(text.split())


def test_each_command_has_a_page_and_nothing_else_has() -> None:
    assert sorted(PAGES) == sorted("-".join(("sealroom", *path)) + ".1" for path in PATHS)
    assert len(PAGES) > 50


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_a_page_says_all_that_the_help_says(path: tuple[str, ...], capsys: Any) -> None:
    assert main.run([*path, "--help"]) == 0
    text = shown(page_of(path))
    out = capsys.readouterr().out
    for paragraph in out.split("\n\n"):
        lines = [line.strip() for line in paragraph.splitlines()]
        if lines[0] == "Example:":
            assert all(line in text for line in lines[1:])
        elif not lines[0].startswith(("Usage:", "Options:", "Commands:")):
            assert " ".join(" ".join(lines).split()) in text
    for option in re.findall(r"^  (?:-h, )?(--[a-z-]+)", out, re.M):
        assert option in text
    assert page_of(path).startswith('.TH "SEALROOM')
    assert "sealroom 1.2.3" in page_of(path).splitlines()[0]


def test_a_group_names_the_pages_below_it_and_those_name_it() -> None:
    assert "sealroom-recovery-setup(1)" in shown(page_of(("recovery",)))
    assert "sealroom-recovery(1)" in shown(page_of(("recovery", "setup")))
    assert "sealroom-recovery-setup" not in shown(page_of(()))


def test_the_same_commands_give_the_same_bytes_and_old_pages_go(tmp_path: Path) -> None:
    folder = tmp_path / "man"
    assert manual.write(folder, "v") == len(PAGES)
    first = {path.name: path.read_bytes() for path in (folder / "man1").iterdir()}
    (folder / "man1" / "sealroom-gone.1").write_text("a command that there was")
    (folder / "man1" / "another.1").write_text("somebody else's")
    assert manual.write(folder, "v") == len(PAGES)
    again = {path.name: path.read_bytes() for path in (folder / "man1").iterdir()}
    assert again == {**first, "another.1": b"somebody else's"}


def test_what_would_be_an_instruction_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = click.Command(
        "odd",
        params=[click.Option(["--a-b"], metavar="X", help=".start \\n 'quoted'\n more")],
        help="Be odd.\n\n.TH in prose, and 'more'\n\n\b\nExample:\n  sealroom odd \\ \"x\"\n  'y'",
    )
    context = click.Context(odd, click.Context(main.cli, info_name="sealroom"), "odd")
    lines = manual._page(context, 'a "b"').splitlines()
    assert lines[0] == '.TH "SEALROOM\\-ODD" 1 "" "a \\(dqb\\(dq" "Sealroom"'
    assert "\\&.TH in prose, and 'more'" in lines
    assert "\\&.start \\en 'quoted' more" in lines
    assert lines[lines.index(".nf") + 1 :][:2] == ["sealroom odd \\e \\(dqx\\(dq", "\\&'y'"]


def test_a_command_that_is_not_installed_has_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    contribute(monkeypatch, "serve", "no_such_package_at_all:serve")
    assert "sealroom-serve.1" not in manual.pages("v")
    assert "sealroom-serve.1" in PAGES


def test_the_environment_is_what_the_client_reads() -> None:
    sources = "".join(path.read_text() for path in (REPO / "client").rglob("*.py"))
    read = set(re.findall(r"\"(SEALROOM_[A-Z_]+)\"", sources))
    assert {name for name, _ in manual.ENVIRONMENT} == read


def test_the_pages_are_written_where_man_finds_them(tmp_path: Path, capsys: Any) -> None:
    manual.main([str(tmp_path)])
    assert capsys.readouterr().out == f"{len(PAGES)} pages in {tmp_path}\n"
    assert (tmp_path / "man1" / "sealroom-upload.1").read_text().startswith(".TH")


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not here")
def test_the_pages_are_in_the_language_of_pages(tmp_path: Path) -> None:
    manual.write(tmp_path, "v")
    files = sorted(map(str, (tmp_path / "man1").iterdir()))
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", *files], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")
