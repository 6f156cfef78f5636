"""Builds the compiled loop, where a compiler is: named in `setup.py`, run by cffi alone.

API mode: the compiler checks every declaration against the code, and each call lets go of the
interpreter's lock. No header of libsodium is needed, for its functions are handed over.
"""

from __future__ import annotations

from pathlib import Path

from cffi import FFI

_HERE = Path("client/crypto/loop")

BUILDER = FFI()
BUILDER.cdef((_HERE / "loop.h").read_text(encoding="utf-8"))
BUILDER.set_source(
    "client.crypto.loop._loop",
    '#include "loop.c"',
    include_dirs=[str(_HERE)],
    depends=[str(_HERE / "loop.c"), str(_HERE / "loop.h")],
    extra_compile_args=["-O3", "-std=c11", "-Wall", "-Wextra"],
    # Without a compiler there is no loop, and the other engines do the work.
    optional=True,
)
