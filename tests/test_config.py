"""The settings of a server are in range, or it does not start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vault.config import RANGES, Config, InvalidConfig


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
