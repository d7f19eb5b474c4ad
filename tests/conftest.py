"""For all tests: how long an example of hypothesis takes says nothing on a busy machine."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("noex", deadline=None)
settings.load_profile("noex")
