"""Every shared table goes in by one command and comes back equal, or is refused for its reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import real_tables
from tests.real_tables import CASES, DATA, Case, Stage
from tests.shared import shared_path


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    shared_path("data")
    with real_tables.stage(tmp_path_factory.mktemp("stage")) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_real_table(case: Case, scene: Stage) -> None:
    shared_path("data", *case.file.split("/"))
    assert scene.play(case)


def test_no_file_is_left_out() -> None:
    shared_path("data")
    others = ("README.md", "column_labels.json")
    files = {
        path.relative_to(DATA).as_posix()
        for path in DATA.rglob("*")
        if path.is_file() and path.name not in others and path.parent.name != "expected_json"
    }
    assert files == {case.file for case in CASES}


def test_a_command_that_ends_otherwise_is_told(scene: Stage) -> None:
    shared_path("data")
    for wrong in (
        Case("us-500.csv", (500, 13)),
        Case("us-500.csv", "table_ragged"),
        Case("nasty/csvkit/bad.csv", "table_empty"),
        Case("nasty/csvkit/simple.csv", (1, 3)),
    ):
        with pytest.raises(AssertionError):
            scene.play(wrong)


def test_the_table_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shared_path("data")
    good, wrong = Case("us-500.csv", (500, 12)), Case("us-500.csv", (500, 13))
    monkeypatch.setattr(real_tables, "CASES", [good, wrong])
    assert real_tables.main() == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "  us-500.csv  500 x 12, equal to the byte"
    assert out[1].startswith("! us-500.csv  NOT AS EXPECTED")
    assert out[2] == "2 commands, 1 not as expected"
    monkeypatch.setattr(real_tables, "DATA", tmp_path / "none")
    assert real_tables.main() == 0
