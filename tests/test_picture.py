"""The picture of a terminal shows what stood there, and fetches nothing."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from examples.picture import CELL, EDGE, PICTURE, Terminal, draw


def words(svg: str) -> list[tuple[float, str, str | None]]:
    root = ElementTree.fromstring(svg)
    texts = root.iter("{http://www.w3.org/2000/svg}text")
    return [(float(each.attrib["x"]), each.text or "", each.get("fill")) for each in texts]


def test_every_character_stands_in_its_column(tmp_path: Path) -> None:
    terminal = Terminal.of(tmp_path)
    terminal.stream.feed("城市 \x1b[31mno <b>\x1b[0m 上海\r\n\r\nend".encode())
    lines = terminal.lines()
    assert len(lines) == 3
    found = words(draw(lines, "a & b"))
    columns = [(round((x - EDGE) / CELL[0]), text, fill) for x, text, fill in found]
    assert columns == [
        (0, "城", None), (2, "市", None), (5, "no", "#cf222e"), (8, "<b>", "#cf222e"),
        (12, "上", None), (14, "海", None), (0, "end", None),
    ]  # fmt: skip


def test_a_command_is_played_and_its_failure_is_told(tmp_path: Path) -> None:
    terminal = Terminal.of(tmp_path)
    for _ in terminal.type("--version"):
        pass
    assert "sealroom --version" in terminal.text()
    assert re.search(r"\d+\.\d+", terminal.text())
    with pytest.raises(RuntimeError, match=r"(?s)it failed:.*no-such-command"):
        for _ in terminal.type("no-such-command"):
            pass


def test_the_picture_in_the_tree_is_whole_and_fetches_nothing() -> None:
    svg = PICTURE.read_text(encoding="utf-8")
    ElementTree.fromstring(svg)
    assert re.findall(r"https?://[^\"' ]+", svg) == ["http://www.w3.org/2000/svg"]
    assert "records" in svg
