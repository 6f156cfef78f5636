"""The one thing that pyproject.toml cannot say: a compiled loop that may be missing.

With SEALROOM_PURE set there is none, whatever compilers are here, and so the wheel is the same
for every platform (`make dist`).
"""

import os

from setuptools import setup

if os.environ.get("SEALROOM_PURE"):
    setup()
else:
    setup(cffi_modules=["client/crypto/loop/build.py:BUILDER"])
