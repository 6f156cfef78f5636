"""Which engine runs, and what is not believed of one."""

from __future__ import annotations

import importlib
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from client.columns import Cells
from client.crypto.engines import (
    VARIABLE,
    CompiledEngine,
    CryptographyEngine,
    Engine,
    SodiumEngine,
    choice,
    default_engine,
    fastest_engine,
    survey,
)
from client.errors import InputError
from tests.every_engine import ENGINES


class TestChoice:
    @pytest.fixture(autouse=True)
    @staticmethod
    def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.delenv(VARIABLE, raising=False)
        default_engine.cache_clear()
        yield
        default_engine.cache_clear()

    def test_the_default_is_the_fastest_there_is(self) -> None:
        assert default_engine().name == fastest_engine().name == ENGINES[0].name
        assert default_engine() is default_engine()

    def test_where_a_compiler_is_the_loop_was_built(self) -> None:
        headers = Path(sysconfig.get_path("include"), "Python.h")
        if shutil.which("cc") is None or not headers.is_file():
            pytest.skip("there is no compiler, or it has no headers of Python's")
        # Else a mistake in C would only make everything slower.
        why = survey()[0].why_absent
        assert why is None or "processor" in why

    def test_the_survey_tells_of_every_kind(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert [each.name for each in survey()] == ["compiled", "sodium", "cryptography"]
        monkeypatch.setitem(choice.MAKERS, "compiled", absent)
        first = survey()[0]
        assert (first.engine, first.why_absent) == (None, "nowhere to be found")

    @pytest.mark.parametrize("name", [engine.name for engine in ENGINES])
    def test_the_variable_forces_one(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setenv(VARIABLE, name)
        assert default_engine().name == name

    def test_the_variable_names_one_that_is_not_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, "compiled")
        monkeypatch.setitem(choice.MAKERS, "compiled", absent)
        with pytest.raises(InputError, match="compiled that SEALROOM_ENGINE names is not here"):
            default_engine()

    def test_the_variable_names_none_at_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, "quantum")
        with pytest.raises(InputError, match="does not exist") as caught:
            default_engine()
        assert "compiled, sodium, cryptography" in str(caught.value.hint)

    @pytest.mark.parametrize(
        "library",
        [
            SimpleNamespace(ffi=None, lib=SimpleNamespace()),
            SimpleNamespace(
                ffi=None,
                lib=SimpleNamespace(
                    crypto_aead_aes256gcm_encrypt=None,
                    crypto_aead_aes256gcm_decrypt=None,
                    crypto_aead_aes256gcm_is_available=lambda: 0,
                ),
            ),
        ],
    )
    def test_without_any_library_cryptography_runs(
        self, monkeypatch: pytest.MonkeyPatch, library: SimpleNamespace
    ) -> None:
        monkeypatch.setitem(choice.MAKERS, "compiled", absent)
        monkeypatch.setattr(importlib, "import_module", lambda name: library)
        assert fastest_engine().name == "cryptography"

    @pytest.mark.parametrize("kind", [CompiledEngine, SodiumEngine])
    def test_an_engine_of_other_bytes_is_not_believed(
        self, monkeypatch: pytest.MonkeyPatch, kind: type[Engine]
    ) -> None:
        if kind is CompiledEngine:
            monkeypatch.setattr(CompiledEngine, "seal_draft", lambda *_: bytes(200))
        else:
            monkeypatch.setattr(SodiumEngine, "seal_cells", lambda *_: np.zeros(144, np.uint8))
        told = {each.name: each for each in survey()}
        name = str(kind.name)
        if told[name].why_absent is None or "other bytes" not in str(told[name].why_absent):
            pytest.skip(f"no {name} here")
        assert told[name].engine is None

    def test_an_engine_that_opens_to_something_else_is_not_believed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            CryptographyEngine, "open", lambda *_: Cells.from_list([b"else"], string_like=True)
        )
        monkeypatch.setitem(choice.MAKERS, "sodium", CryptographyEngine)
        assert {each.name: each for each in survey()}["sodium"].engine is None


def absent() -> Engine:
    raise LookupError("nowhere to be found")
