"""Behaviors that the node processes of tests/cluster run, and what they leave on disk.

A `Scribe` appends one JSON line to a journal when it starts and one when it ends, so that starts
are counted by the children themselves, whatever a supervisor says.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from noex.registry.behaviors import behavior
from noex.runtime.genserver import GenServer
from noex.runtime.returns import Ignore, NoReply, Stop
from noex.supervisor.distributed import DistributedSupervisor


class Boom(Exception):
    """How children crash."""


def hold_gil(seconds: float) -> None:
    """One C call that does not give the GIL back."""
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))


@behavior("echo")
class Echo(GenServer[Any]):
    """Answers, or does not."""

    def init(self, *args: Any) -> Any:
        return args

    async def handle_call(self, message: Any, state: Any) -> Any:
        match message:
            case "pid":
                return os.getpid(), state
            case "args":
                return state, state
            case "never":
                return NoReply()
            case ("hold", seconds):
                hold_gil(seconds)
                return os.getpid(), state
            case ("print", text):
                sys.stdout.write(text)
                sys.stdout.flush()
                return len(text), state
            case ("relay", ref, question, timeout):
                return await ref.call(question, timeout=timeout), state
            case ("try", ref, question, timeout):  # how a call from this node ends
                try:
                    return ("answer", await ref.call(question, timeout=timeout)), state
                except Exception as error:
                    return ("error", error), state
            case _:
                return message, state

    def handle_cast(self, message: Any, state: Any) -> Any:
        match message:
            case ("hold", seconds):
                hold_gil(seconds)
            case "die":
                os._exit(9)
        return None


@behavior("scribe")
class Scribe(GenServer[Any]):
    """A child that writes down its life: start (pid, child, generation, arguments) and end."""

    def init(self, journal: str, child: str, *args: Any, **kwargs: Any) -> Any:
        self.journal, self.child = journal, child
        fault = next_fault(journal, child)
        if fault == "raise":
            raise Boom(child)
        if fault == "ignore":
            return Ignore
        self.write("start", args=list(args), kwargs=kwargs)
        return list(args)

    def write(self, what: str, **fields: Any) -> None:
        term, generation = self.fence or (0, 0)
        line = {"what": what, "child": self.child, "pid": os.getpid(), "at": time.monotonic()}
        append(self.journal, {**line, "term": term, "generation": generation, **fields})

    def handle_call(self, message: Any, state: Any) -> Any:
        match message:
            case "pid":
                return os.getpid(), state
            case "args":
                return state, state
            case ("put", value):
                return value, [*state, value]
            case _:
                return message, state

    async def handle_cast(self, message: Any, state: Any) -> Any:
        match message:
            case "crash":
                raise Boom(self.child)
            case ("end", reason):
                return Stop(reason)
            case ("note", what):
                self.write("note", text=what)
            case ("hold", seconds):
                hold_gil(seconds)
            case ("stay", seconds):
                await asyncio.sleep(seconds)
        return None

    def terminate(self, reason: Any, state: Any) -> None:
        self.write("end", reason=repr(reason))


def append(journal: str, line: dict[str, Any]) -> None:
    """One write to a file open for appending: lines of several processes do not mix."""
    descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, json.dumps(line, default=repr).encode() + b"\n")
    finally:
        os.close(descriptor)


def next_fault(journal: str, child: str) -> str | None:
    """What the next start of `child` does, if the test said so: each fault is used once."""
    folder = Path(f"{journal}.faults")
    for path in sorted(folder.glob(f"{child}.*")) if folder.is_dir() else []:
        try:
            path.unlink()
        except FileNotFoundError:
            continue  # another process took it
        return path.name.rpartition(".")[2]
    return None


class Journal:
    """The test's side of the file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def lines(self, what: str | None = None, child: str | None = None) -> list[dict[str, Any]]:
        """The entries in order, all or those of one kind or child."""
        text = Path(self.path).read_text() if Path(self.path).exists() else ""
        entries = [json.loads(line) for line in text.splitlines()]
        return [
            entry
            for entry in entries
            if what in (None, entry["what"]) and child in (None, entry["child"])
        ]

    def starts(self, child: str | None = None) -> list[dict[str, Any]]:
        return self.lines("start", child)

    def story(self) -> list[tuple[str, str]]:
        """(what, child) in order."""
        return [(entry["what"], entry["child"]) for entry in self.lines()]

    def mark(self) -> int:
        return len(self.lines())

    def since(self, mark: int) -> list[tuple[str, str]]:
        return self.story()[mark:]

    def fail(self, child: str, *faults: str) -> None:
        """The next starts of `child`: ``raise`` or ``ignore``."""
        folder = Path(f"{self.path}.faults")
        folder.mkdir(exist_ok=True)
        known = len(list(folder.iterdir()))
        for number, fault in enumerate(faults, known):
            (folder / f"{child}.{number:04d}.{fault}").touch()

    def mend(self) -> None:
        """No start fails any more."""
        for path in Path(f"{self.path}.faults").glob("*"):
            path.unlink(missing_ok=True)


@behavior("boss")
class Boss(GenServer[Any]):
    """Starts a distributed supervisor on its own node, and gives its handle away."""

    async def init(self, children: list[Any], options: dict[str, Any]) -> Any:
        return await DistributedSupervisor.start(self.node, children=children, **options)

    def handle_call(self, message: Any, state: Any) -> Any:
        return state, state
