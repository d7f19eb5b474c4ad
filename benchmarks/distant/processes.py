"""OS processes: what they have used, and their end. By pid, and only those that we have started.

Some libraries start daemons that are nobody's children. All that a client starts inherits a mark
in its environment, by which it is found again. Without /proc only children of our own are seen.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

MARK = "NOEX_BENCHMARK"
PROC = Path("/proc")


def family(pid: int, besides: Iterable[int] = ()) -> list[int]:
    """That process and all that it has started, without `besides` and what those have started."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents().items():
        children.setdefault(parent, []).append(child)
    found, excluded, waiting = [], set(besides), [pid]
    while waiting:
        one = waiting.pop()
        if one not in excluded:
            found.append(one)
            waiting += children.get(one, [])
    return found


def _parents() -> dict[int, int]:
    found = {}
    for path in PROC.glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            found[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time that those processes have had, all threads together."""
    return sum(_cpu(pid) for pid in pids)


def _cpu(pid: int) -> float:
    if pid == os.getpid():
        return time.process_time()
    try:
        tasks = list((PROC / str(pid) / "task").iterdir())
        return sum(_on_cpu(task) for task in tasks)
    except OSError:
        return 0.0


def _on_cpu(task: Path) -> float:
    """In nanoseconds, where the kernel counts them; else in ticks of a hundredth."""
    with suppress(OSError, ValueError, IndexError):
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    with suppress(OSError, ValueError, IndexError):
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def resident(pids: Iterable[int]) -> float:
    """Bytes that those processes have in memory, shared ones counted in each."""
    return sum(_status(pid, "VmRSS") for pid in pids)


def highest(pids: Iterable[int]) -> float:
    """The same, at their highest so far."""
    return sum(_status(pid, "VmHWM") for pid in pids)


def _status(pid: int, name: str) -> float:
    with suppress(OSError):
        for line in (PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith(name):
                return float(line.split()[1]) * 1024
    return 0.0


def marked(mark: str) -> list[int]:
    """Processes with this mark in their environment."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for path in PROC.glob("[0-9]*/environ"):
        with suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def end_marked(mark: str, patience: float = 2.0) -> None:
    """End what a client has left behind: first kindly, then not."""
    sent: list[int] = []
    end = time.monotonic() + patience
    while pids := marked(mark):
        late = time.monotonic() > end
        for pid in pids if late else set(pids).difference(sent):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        sent = pids
        if time.monotonic() > end + patience:
            print(f"Still there: {pids}", file=sys.stderr)
            return
        time.sleep(0.02)
