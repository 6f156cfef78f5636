"""What every test shares: how property tests are run, and who else asserts."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

# Modules of tests that are no test modules, and are imported by several.
pytest.register_assert_rewrite(
    "tests.storage_contract",
    "tests.storage_deletion",
    "tests.storage_model",
    "tests.storage_remains",
)

# Whoever starts the tests in the background has Ctrl-C ignored, by them and all that they start;
# what tests it would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: on a busy machine it would fail tests for being slow, which is no property.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
