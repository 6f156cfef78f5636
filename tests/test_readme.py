"""The README names every command that there is, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.every_command import every_command

README: Final = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
EVERY: Final = [" ".join(path) for path, _ in every_command()]
GROUPS: Final = {each.split(" ")[0] for each in EVERY if " " in each}
CODE: Final = [
    *re.findall(r"`([^`\n]+)`", README),
    *re.findall(r"^(?:SEALROOM_HOME=\S+ +)?(sealroom [^\n]+)", README, re.MULTILINE),
]
"""What stands in the README as something to type."""


def typed(command: str) -> bool:
    return any(re.match(rf"(?:sealroom )?{re.escape(command)}(?![\w-])", each) for each in CODE)


@pytest.mark.parametrize("command", EVERY)
def test_each_command_is_named(command: str) -> None:
    assert typed(command), f"README.md says nothing of 'sealroom {command}'"


def test_what_is_named_is_there() -> None:
    named = {
        " ".join(words[: 2 if words[0] in GROUPS else 1])
        for each in CODE
        if (words := each.removeprefix("sealroom ").split())
        and (each.startswith("sealroom ") or words[0] in GROUPS)
        and not words[0].startswith("-")
    }
    unknown = {each for each in named if each not in EVERY and each not in GROUPS}
    assert unknown == set()
    assert len(named) > 40
