"""Settings of the property tests."""

import os

from hypothesis import settings

# A busy machine must not fail a test; in CI the same examples are drawn in every run.
settings.register_profile("mmlib", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("mmlib")
