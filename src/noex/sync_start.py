"""How one process is started by a thread without a loop: what ``node.options(...)`` returns."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, ParamSpec, TypeVar, overload

from noex.runtime.typed import Startable, State
from noex.start_options import StartOptions
from noex.sync_face import Face
from noex.sync_ref import BlockingRef

P = ParamSpec("P")
G = TypeVar("G")


class BlockingStartOptions(Face[StartOptions]):
    """How to start a process: what `BlockingNode.options` returns."""

    __slots__ = ()

    @overload
    def start(
        self,
        behavior: Startable[P, Coroutine[Any, Any, State | None], G],
        *args: Any,
        **kwargs: Any,
    ) -> BlockingRef[G]: ...
    @overload
    def start(
        self, behavior: Startable[P, Coroutine[Any, Any, object], G], *args: Any, **kwargs: Any
    ) -> BlockingRef[G] | None: ...
    @overload
    def start(
        self, behavior: Startable[P, State | None, G], *args: Any, **kwargs: Any
    ) -> BlockingRef[G]: ...
    @overload
    def start(
        self, behavior: Startable[P, object, G], *args: Any, **kwargs: Any
    ) -> BlockingRef[G] | None: ...
    def start(self, behavior: Any, *args: Any, **kwargs: Any) -> Any:
        """As `BlockingNode.start`, with these options. Also raises `NameTakenError`.

        Type checkers do not look at the arguments here.
        """
        return self._invoke(self._plain.start, (behavior, *args), kwargs, None)

    def spawn(
        self, behavior: str, *args: Any, on: str | None = None, **kwargs: Any
    ) -> BlockingRef[Any]:
        """As `BlockingNode.spawn`, with these options."""
        return spawned(self, behavior, args, {**kwargs, "on": on})


def spawned(
    face: Face[Any], behavior: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> BlockingRef[Any]:
    """Have it spawned by the node, or by its options."""
    ref: Any = face._invoke(face.plain.spawn, (behavior, *args), kwargs, None)
    return ref  # type: ignore[no-any-return]  # None if `init` says so, which it rarely does
