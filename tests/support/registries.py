"""Local registries for tests, over a bare kernel."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from noex.registry.local import Registry
from noex.runtime.kernel import Kernel


def registry_of(kernel: Kernel, *args: Any, **options: Any) -> Registry[Any, Any]:
    return Registry(SimpleNamespace(kernel=kernel), *args, **options)


def does(action: Any) -> Any:
    """A message that has a process do something and reply with the outcome, or the error."""

    def handler(_server: Any, state: Any) -> Any:
        try:
            return action(), state
        except Exception as error:
            return error, state

    return handler
