"""The one thing that pyproject.toml cannot say: a compiled loop that may be missing."""

from setuptools import setup

setup(cffi_modules=["client/crypto/loop/build.py:BUILDER"])
