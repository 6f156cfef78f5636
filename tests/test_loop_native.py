"""The compiled loop seen from C: no branch and no address depends on a value."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
LOOP = REPOSITORY / "client" / "crypto" / "loop"
SECRET_DEPENDENT = 9


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler, valgrind = shutil.which("cc"), shutil.which("valgrind")
    if compiler is None or valgrind is None:
        pytest.skip("needs a C compiler and valgrind")
    made = tmp_path_factory.mktemp("native") / "constant_time"
    source = REPOSITORY / "tests" / "native" / "constant_time.c"
    flags = ["-O3", "-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function"]
    subprocess.run([compiler, *flags, "-I", str(LOOP), str(source), "-o", str(made)], check=True)
    return made


def memcheck(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["valgrind", "--quiet", f"--error-exitcode={SECRET_DEPENDENT}"]
    return subprocess.run(
        [*command, str(program), *arguments], capture_output=True, text=True, check=False
    )


def test_padding_and_unpadding_take_the_same_time_whatever_the_value(program: Path) -> None:
    done = memcheck(program)
    assert done.returncode == 0, done.stderr


def test_a_branch_on_a_value_would_have_been_found(program: Path) -> None:
    done = memcheck(program, "leak")
    assert done.returncode == SECRET_DEPENDENT
    assert "depends on uninitialised value" in done.stderr
