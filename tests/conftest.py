"""What every test shares: how property tests are run."""

from __future__ import annotations

import os

from hypothesis import settings

# No deadline: on a busy machine it would fail tests for being slow, which is no property.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
