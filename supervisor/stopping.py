"""How a child is stopped: signal, wait, kill, wait. By monitor, so that it cannot hang."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from noex.runtime.reasons import KILL, KILLED

if TYPE_CHECKING:
    from noex.runtime.kernel import Kernel
    from noex.runtime.ref import Ref


async def stop_process(
    kernel: Kernel, ref: Ref[Any], sender: Ref[Any], reason: Any, shutdown: Any
) -> Any:
    """Stop the local process `ref` and return its exit reason when it is gone.

    `shutdown`: seconds to wait after the signal before it is killed, ``"infinity"``, or
    ``"brutal_kill"`` to kill at once.
    """
    monitor = kernel.monitor(ref)
    try:
        if shutdown != "brutal_kill":
            kernel.exit(ref, reason, sender)
            try:
                return await monitor.wait(None if shutdown == "infinity" else shutdown)
            except TimeoutError:
                pass
        kernel.exit(ref, KILL, sender)
        return await _wait_for_the_killed(kernel, monitor)
    finally:
        monitor.cancel()


async def _wait_for_the_killed(kernel: Kernel, monitor: Any) -> Any:
    try:
        return await monitor.wait(kernel.kill_grace + 5.0)
    except TimeoutError:  # not even a zombie: the kernel buries it within `kill_grace`
        return KILLED
