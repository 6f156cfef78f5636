"""The settings of a server are in range, or it does not start."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.config import LIMITS, RANGES, Config, InvalidConfig, read_limits


def config(**settings: Any) -> Config:
    return Config(data_dir=Path("data"), **settings)


def test_the_defaults_are_valid_and_closed_to_strangers() -> None:
    made = config()
    assert made.open is False
    assert made.host == "127.0.0.1"
    assert all(RANGES[name][0] <= getattr(made, name) <= RANGES[name][1] for name in RANGES)


@pytest.mark.parametrize("name", RANGES)
def test_each_number_has_its_range(name: str) -> None:
    low, high = RANGES[name]
    for fine in (low, high):
        assert getattr(config(**{name: fine}), name) == fine
    for wrong in (low - 1, high + 1, True, float(low), str(low), None):
        with pytest.raises(InvalidConfig, match=name):
            config(**{name: wrong})


@pytest.mark.parametrize("settings", [{"host": ""}, {"hosts": ()}, {"hosts": ("a", "")}])
def test_a_host_has_a_name(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig, match="host"):
        config(**settings)


def test_a_certificate_comes_with_its_key() -> None:
    file = Path("file.pem")
    assert config(cert_file=file, key_file=file).cert_file == file
    for settings in ({"cert_file": file}, {"key_file": file}):
        with pytest.raises(InvalidConfig, match="needs its key"):
            config(**settings)


# --- a file of limits


def limits_in(folder: Path, text: str | bytes) -> dict[str, int]:
    file = folder / "limits.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_limits(file)


@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_can_be_given_in_a_file(tmp_path: Path, name: str) -> None:
    low, high = RANGES[name]
    for fine in (low, high):
        given_in_it = limits_in(tmp_path, f"# why\n{name} = {fine:_}\n")
        assert getattr(config(**given_in_it), name) == fine
    for wrong in (low - 1, high + 1, "true", f"{low}.0", f'"{low}"', f"[{low}]", "1979-05-27"):
        with pytest.raises(InvalidConfig, match=name) as refused:
            limits_in(tmp_path, f"{name} = {wrong}")
        assert "limits.toml" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("acts_per_dya = 1", "no limit 'acts_per_dya'", "Did you mean acts_per_day?"),
        ("port = 1", "no limit 'port'", "There are requests_per_second, "),
        ("host = 'x'", "no limit 'host'", "There are "),
        ("[acts_per_day]", "acts_per_day must be", "A line is such as"),
        ("acts_per_day 1", "is no TOML", "A line is such as"),
        ("acts_per_day = 1\nacts_per_day = 2", "is no TOML", "A line is such as"),
        (b"\xff\xfe", "is no TOML", "A line is such as"),
    ],
)
def test_what_is_no_limit_is_said(tmp_path: Path, text: str, what: str, hint: str) -> None:
    with pytest.raises(InvalidConfig, match=what) as refused:
        limits_in(tmp_path, text)
    assert str(refused.value.hint).startswith(hint)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(InvalidConfig, match=re.escape(str(path))):
            read_limits(path)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_bytes_are_limits_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes | str
) -> None:
    found: dict[str, int] = {}
    with suppress(InvalidConfig):
        found = limits_in(tmp_path_factory.getbasetemp(), content)
    config(**found)
