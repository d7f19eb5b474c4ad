"""The invariants of the strategy machine, checked by tests after each event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from noex.supervisor.strategy_child import Child, Phase, Wait
from noex.supervisor.strategy_core import Core
from noex.supervisor.strategy_group import Grouped
from noex.supervisor.strategy_single import RestartStrategy


def check_children(core: Core) -> None:
    """Each child's fields agree with its phase, and the tables with the children."""
    orders = [child.order for child in core.children.values()]
    assert orders == sorted(set(orders)), f"start order broken: {orders}"
    used = [child.generation for child in core.children.values() if child.generation]
    assert len(used) == len(set(used)), "two children share a generation"
    assert max(used, default=0) <= core.last_generation
    for child_id, child in core.children.items():
        assert child.id == child_id
        _check_child(child)
    owned = {child.ref: child.id for child in core.children.values() if child.ref in core.by_ref}
    assert core.by_ref == owned, "a ref leads to a child that does not have it"
    assert len(core.window.times) <= core.options.restart_intensity.max_restarts
    for child in core.ready.values():
        assert core.children.get(child.id) is child


def _check_child(child: Child) -> None:
    waiting = child.phase is Phase.WAITING
    assert waiting == (child.wait is not None), f"{child}: wait={child.wait}"
    if child.phase in (Phase.WAITING, Phase.STARTING, Phase.UNCONFIRMED):
        assert child.ref is None, f"{child} holds a ref"
    if child.phase in (Phase.WAITING, Phase.RUNNING, Phase.UNCONFIRMED):
        assert child.after is None, f"{child}: after={child.after}"
    assert not child.successor or child.phase is Phase.RUNNING, f"{child} is replaced"
    if child.phase is Phase.STOPPING:
        assert child.after is not None, f"{child} stops for no purpose"
    if child.phase is Phase.RUNNING:
        assert child.ref is not None, f"{child} runs without a ref"
        assert child.starter is None and not child.waiters, f"{child} keeps its callers waiting"
    if child.wait in (Wait.NODE, Wait.HOLD, Wait.RETRY, Wait.IGNORED):
        assert child.starter is None, f"{child} keeps the caller of start_child waiting"


def check_requests(core: Core, queued: Iterable[int]) -> None:
    """Every request that is not answered waits in exactly one place."""
    places = Counter([*queued, *core.strays.waiting_ids])
    for child in core.children.values():
        places.update([*child.waiters, *child.terminators])
        if child.starter is not None:
            places[child.starter] += 1
    assert all(count == 1 for count in places.values()), f"waits twice: {places}"
    assert set(places) == core.open_requests, "a request is lost"


def check_progress(core: Core, strategy: RestartStrategy) -> None:
    """A child that wants to be started is started, unless a group restart holds it back."""
    for child in core.ready.values():
        assert core.strays.has(child.id), f"nobody starts {child}"
    held = [child for child in core.children.values() if child.grouped]
    for child in core.children.values():
        held_back = child.grouped or core.strays.has(child.id)
        assert child.wait is not Wait.TURN or held_back, f"nobody starts {child}"
    active = isinstance(strategy, Grouped) and strategy.is_active
    assert active or not held, f"forgotten by the group restart: {held}"
    if active and strategy.is_busy:
        assert _is_moving(core), "the group stands still"


def check_ending(core: Core, finished: bool) -> None:
    """The end makes progress, and leaves nothing behind."""
    left = [*core.children, *range(len(core.strays))]
    assert finished == (not left), f"finished={finished} with {left}"
    if finished:
        assert not core.open_requests and not core.by_ref
        return
    assert _is_moving(core), "the end stands still"


def _is_moving(core: Core) -> bool:
    moving = (Phase.STARTING, Phase.STOPPING)
    return bool(core.strays) or any(child.phase in moving for child in core.children.values())
