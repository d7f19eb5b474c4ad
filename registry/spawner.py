"""Starting processes on other nodes: the system process ``noex.spawner``, and `spawn`.

A behavior travels by name, never as code; the other node starts what it has under that name.

1. `spawn` calls the spawner of the chosen node, with a key that names this one request.
2. The spawner starts the process in a task of its own (starts run beside each other) and registers
   its name, if that is to be global.
3. It answers with the ref, or with what went wrong; then nothing is left behind.

The same key again joins the start that is under way, or gets its outcome: a repeated request starts
nothing twice. Outcomes are kept for a minute, the latest 1024 of them.

A process whose requester has given up is stopped: because its node is down, or its call timed out
or was cancelled before the start had ended (the answer finds nobody), or while the answer was under
way (``give_up`` follows it).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from noex.registry.behaviors import BehaviorRegistry, default_behaviors
from noex.registry.names import GlobalRegistry
from noex.runtime.calls import Caller
from noex.runtime.checks import check_limit, check_name
from noex.runtime.errors import (
    CallTimeoutError,
    InitFailedError,
    InvalidOptionError,
    MessageSerializationError,
    OverloadedError,
)
from noex.runtime.genserver import GenServer
from noex.runtime.messages import TaskResult
from noex.runtime.reasons import KILL, SHUTDOWN
from noex.runtime.ref import Ref
from noex.runtime.returns import NoReply

if TYPE_CHECKING:
    from noex.runtime.kernel import Kernel
    from noex.runtime.mailboxes import Mailbox

SPAWNER: Final = "noex.spawner"
KEPT_OUTCOMES: Final = 1024
KEPT_FOR: Final = 60.0  # seconds
MAX_STARTS: Final = 10_000  # under way at once
_STOP_TIME: Final = 5.0  # seconds for `terminate` of what nobody wants, before it is killed
_SLACK: Final = 5.0  # seconds for the way there and back, beside `init`
_FORGET: Final = "forget"

Register = Literal["local", "global"]


class _Start:
    """One request: under way while it has a task, then an outcome."""

    __slots__ = ("askers", "behavior", "ended_at", "error", "ref", "task")

    def __init__(self, behavior: str) -> None:
        self.behavior = behavior
        self.task: asyncio.Task[Any] | None = None
        self.askers: list[Caller] = []
        self.ref: Ref[Any] | None = None
        self.error: Exception | None = None
        self.ended_at = 0.0

    def tell(self, asker: Caller) -> bool:
        """Answer with the outcome. Returns whether somebody heard it."""
        return asker.reply(self.ref) if self.error is None else asker.fail(self.error)


class Spawner(GenServer[None]):
    """Starts behaviors of this node for processes and programs of any node."""

    def init(self, behaviors: BehaviorRegistry = default_behaviors) -> None:
        """`behaviors`: what this node can start."""
        self._behaviors = behaviors
        self._under_way: dict[Any, _Start] = {}
        self._ended: OrderedDict[Any, _Start] = OrderedDict()  # the oldest first
        self._keys: dict[asyncio.Task[Any], Any] = {}
        self._forgetting = False

    # ------------------------------------------------------------------ requests

    def handle_call(self, message: Any, state: None) -> Any:
        asker = self.caller
        assert asker is not None
        match message:
            case ("spawn", key, str() as behavior, *order) if 5 <= len(order) <= 6 and _is_key(key):
                self._asked(asker, key, behavior, order)
            case ("under_way",):
                return len(self._under_way), state
            case _:
                asker.fail(InvalidOptionError("message", message, "no request of a spawner"))
        return NoReply()

    def handle_cast(self, message: Any, state: None) -> None:
        match message:
            case ("give_up", key) if _is_key(key):
                self._give_up(key)

    def _asked(self, asker: Caller, key: Any, behavior: str, order: list[Any]) -> None:
        start = self._under_way.get(key) or self._ended.get(key)
        if start is None and len(self._under_way) >= MAX_STARTS:
            asker.fail(OverloadedError(self.kernel.node_id))
        elif start is None:
            start = self._under_way[key] = _Start(behavior)
            start.askers.append(asker)
            start.task = self.spawn_task(self._start(behavior, *order))
            self._keys[start.task] = key
        elif start.task is None:
            start.tell(asker)
        else:
            start.askers.append(asker)

    def _give_up(self, key: Any) -> None:
        start = self._under_way.get(key)
        if start is not None and start.task is not None:
            start.task.cancel()  # ends `init`, and what it had begun
            return
        ended = self._ended.pop(key, None)
        if ended is not None and ended.ref is not None:
            self.spawn_task(self._end(ended.ref))

    # ------------------------------------------------------------------ the start

    async def _start(
        self,
        behavior: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        name: str | None,
        register: str | None,
        init_timeout: float,
        mailbox: Mailbox | None = None,
    ) -> Ref[Any] | None:
        local_name = name if register == "local" else None
        cls = self._behaviors.get(behavior, self.kernel.node_id)
        options = {"name": local_name, "init_timeout": init_timeout, "mailbox": mailbox}
        ref = await self.kernel.start(cls, args, kwargs, **options)
        if ref is not None and name is not None and register == "global":
            await self._register(name, ref)
        return ref

    async def _register(self, name: str, ref: Ref[Any]) -> None:
        try:
            await GlobalRegistry(self.kernel).register(name, ref, _SLACK)
        except Exception:
            await self._end(ref)
            raise
        except asyncio.CancelledError:
            ref.exit(KILL)
            raise

    async def _end(self, ref: Ref[Any]) -> None:
        """Stop what nobody wants."""
        monitor = self.kernel.monitor(ref)
        ref.exit(SHUTDOWN)
        try:
            await monitor.wait(_STOP_TIME)
        except TimeoutError:
            ref.exit(KILL)
        finally:
            monitor.cancel()

    def handle_info(self, message: Any, state: None) -> None:
        match message:
            case TaskResult(task=task, value=value, error=error) if task in self._keys:
                self._start_ended(self._keys.pop(task), value, error)
            case TaskResult(error=error) if error is not None:
                self.log.error("spawner_task_failed", error=repr(error))
            case _ if message == _FORGET:
                self._forgetting = False
                self._forget()

    def _start_ended(self, key: Any, ref: Ref[Any] | None, error: BaseException | None) -> None:
        start = self._under_way.pop(key)
        start.task, start.ref = None, ref
        if error is not None:
            ordinary = error if isinstance(error, Exception) else None
            start.error = ordinary or InitFailedError(start.behavior)
        askers, start.askers = start.askers, []
        heard = [start.tell(asker) for asker in askers]
        if any(heard):
            start.ended_at = self.kernel.clock.now()
            self._ended[key] = start
            self._forget()
        elif ref is not None:
            self.log.info("spawned_for_nobody", behavior=start.behavior, stopped=str(ref))
            self.spawn_task(self._end(ref))

    def _forget(self) -> None:
        """Keep the outcomes few and fresh."""
        end = self.kernel.clock.now() - KEPT_FOR
        while self._ended:
            oldest = next(iter(self._ended))
            if len(self._ended) <= KEPT_OUTCOMES and self._ended[oldest].ended_at > end:
                break
            del self._ended[oldest]
        if self._ended and not self._forgetting:
            self._forgetting = True
            self.send_after(KEPT_FOR, _FORGET)


async def spawn(
    kernel: Kernel,
    node_id: str,
    behavior: str,
    args: Sequence[Any] = (),
    kwargs: dict[str, Any] | None = None,
    *,
    name: str | None = None,
    register: Register | None = None,
    init_timeout: float = 30.0,
    mailbox: Mailbox | None = None,
    timeout: float | None = None,
    key: Any = None,
) -> Ref[Any] | None:
    """Start the behavior that `node_id` has under the name `behavior`, and return its ref.

    `args`, `kwargs`: for `init`; they travel. `name`: registered there (`register="local"`, the
    default) or for the whole cluster (`"global"`). `init_timeout`: seconds for `init`; `timeout`
    for everything (default: 5 more). `mailbox`: how many messages may wait for it (default: what
    its class says). `key`: names the request, to repeat it after a failure
    without starting twice; by default every call is a request of its own.

    Returns None if `init` says `Ignore`. Raises `BehaviorNotFoundError`, `InitFailedError` with
    the cause, `InitTimeoutError`, `NameTakenError`, `GlobalNameConflictError`,
    `NodeNotReachableError`, `OverloadedError`, `MessageSerializationError` for arguments that
    cannot travel, and `CallTimeoutError`: a process that is started nevertheless is stopped again.
    """
    _check(behavior, name, register, init_timeout)
    check_key(key)
    request_key = key if key is not None else _fresh_key(kernel)
    register = register or (None if name is None else "local")
    request = (
        *("spawn", request_key, behavior, tuple(args), dict(kwargs or {})),
        *(name, register, float(init_timeout)),
        *(() if mailbox is None else (mailbox,)),
    )
    spawner = kernel.named_ref(SPAWNER, node_id)
    try:
        started: Ref[Any] | None = await spawner.call(
            request, timeout=init_timeout + _SLACK if timeout is None else timeout
        )
    except MessageSerializationError as error:
        unfit = MessageSerializationError("spawn", _path_of(error.args[1]), error.args[2])
    except (CallTimeoutError, asyncio.CancelledError):
        if key is None:  # else it may be asked for again
            spawner.cast(("give_up", request_key))
        raise
    else:
        return started
    raise unfit


def _path_of(path: str) -> str:
    """A path in the request, as the caller of `spawn` knows it: ``args[1].conn``."""
    for place, name in (("message[3]", "args"), ("message[4]", "kwargs")):
        if path.startswith(place):
            return name + path.removeprefix(place)
    return path


def check_key(key: Any) -> None:
    """Refuse what cannot name a request."""
    if not _is_key(key):
        raise InvalidOptionError("key", key, "something hashable that travels, or None")


def _is_key(key: Any) -> bool:
    """Whether it can be looked up (a tuple with a list in it only looks hashable)."""
    try:
        hash(key)
    except TypeError:
        return False
    return True


def _fresh_key(kernel: Kernel) -> tuple[str, int, int]:
    return (kernel.node_id, kernel.incarnation, kernel.next_serial())


def _check(behavior: Any, name: Any, register: Any, init_timeout: Any) -> None:
    if not isinstance(behavior, str) or not behavior:
        legal = "the name of a registered behavior (start takes a class)"
        raise InvalidOptionError("behavior", behavior, legal)
    if register not in (None, "local", "global"):
        raise InvalidOptionError("register", register, '"local", "global" or None')
    if register is not None and name is None:
        raise InvalidOptionError("register", register, "it needs a name=")
    if name is not None:
        check_name(name)
    check_limit(init_timeout, "init_timeout")
