"""How one process is started: what ``node.options(...)`` returns."""

from __future__ import annotations

from collections.abc import Coroutine, Hashable
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeVar, overload

from noex.registry.spawner import check_key, spawn
from noex.runtime.checks import check_flag, check_limit, check_name, check_timeout
from noex.runtime.current import current_process
from noex.runtime.errors import InvalidOptionError
from noex.runtime.mailboxes import Mailbox, mailbox_of
from noex.runtime.node_id import checked_node_id
from noex.runtime.ref import Ref
from noex.runtime.typed import Startable, State

if TYPE_CHECKING:
    from noex.node import Node

KNOWN: Final = ("name", "link", "register", "mailbox", "init_timeout", "timeout", "key")

P = ParamSpec("P")
G = TypeVar("G")


class StartOptions:
    """How to start a process: what `Node.options` returns."""

    def __init__(
        self,
        node: Node,
        *,
        name: str | None = None,
        link: bool = False,
        register: Literal["local", "global"] = "local",
        mailbox: Mailbox | int | None = None,
        init_timeout: float | None = 30.0,
        timeout: float = 10.0,
        key: Hashable = None,
        **unknown: Any,
    ) -> None:
        for option, value in unknown.items():
            raise InvalidOptionError(option, value, f"unknown; known are {', '.join(KNOWN)}")
        if name is not None:
            check_name(name)
        check_flag(link, "link")
        check_timeout(init_timeout, "init_timeout")
        check_limit(timeout, "timeout")
        if key is not None:
            check_key(key)
        if register not in ("local", "global"):
            raise InvalidOptionError("register", register, 'legal are "local" and "global"')
        if register == "global" and name is None:
            raise InvalidOptionError("register", register, "a global name needs name=")
        self._node = node
        self._name = name
        self._link = link
        self._register = register
        self._mailbox = mailbox_of(mailbox)
        self._init_timeout = init_timeout
        self._timeout = timeout
        self._key = key

    @overload
    async def start(
        self,
        behavior: Startable[P, Coroutine[Any, Any, State | None], G],
        *args: Any,
        **kwargs: Any,
    ) -> Ref[G]: ...
    @overload
    async def start(
        self, behavior: Startable[P, Coroutine[Any, Any, object], G], *args: Any, **kwargs: Any
    ) -> Ref[G] | None: ...
    @overload
    async def start(
        self, behavior: Startable[P, State | None, G], *args: Any, **kwargs: Any
    ) -> Ref[G]: ...
    @overload
    async def start(
        self, behavior: Startable[P, object, G], *args: Any, **kwargs: Any
    ) -> Ref[G] | None: ...
    async def start(self, behavior: Any, *args: Any, **kwargs: Any) -> Any:
        """As `Node.start`, with these options. Also raises `NameTakenError`.

        Type checkers do not look at the arguments here.
        """
        if self._key is not None:
            raise InvalidOptionError("key", self._key, "a start here is not repeated; spawn is")
        local_name = self._name if self._register == "local" else None
        ref = await self._node.kernel.start(
            behavior,
            args,
            kwargs,
            name=local_name,
            link_to=self._linked(),
            mailbox=self._mailbox,
            init_timeout=self._init_timeout,
        )
        if ref is not None and self._register == "global":
            await self._register_or_stop(ref)
        return ref

    async def spawn(
        self, behavior: str, *args: Any, on: str | None = None, **kwargs: Any
    ) -> Ref[Any]:
        """As `Node.spawn`, with these options."""
        if self._link:
            raise InvalidOptionError("link", True, "link to the ref that spawn returns")
        node = self._node
        ref: Any = await spawn(
            node.kernel,
            node.id if on is None else checked_node_id(on),
            behavior,
            args,
            kwargs,
            name=self._name,
            register=self._register if self._name is not None else None,
            init_timeout=self._timeout if self._init_timeout is None else self._init_timeout,
            mailbox=self._mailbox,
            timeout=self._timeout,
            key=self._key,
        )
        return ref  # type: ignore[no-any-return]  # None if `init` says so, which it rarely does

    def _linked(self) -> Ref[Any] | None:
        if not self._link:
            return None
        process = current_process.get()
        if process is None:
            raise InvalidOptionError("link", True, "only a process can be linked to")
        return process.ref

    async def _register_or_stop(self, ref: Ref[Any]) -> None:
        try:
            assert self._name is not None
            await self._node.registry.register(self._name, ref)
        except BaseException:
            ref.exit("kill")
            raise
