"""`noex-node` as a real program: what it prints, how it ends, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

LIMIT = 40.0  # seconds for what takes one or two on an idle machine
MARK = "NOEX_TEST_PROGRAM"
SUPPORT = Path(__file__).parent


def _heed_ctrl_c() -> None:
    """Of a shell's background jobs, Ctrl-C is ignored, and what they start inherits that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class NoexNode:
    """One run of `noex-node`. All processes that come of it carry a mark in their environment."""

    def __init__(
        self,
        *arguments: str,
        env: dict[str, str] | None = None,
        prelude: str = "",
        cwd: Path | None = None,
        stdin: int = subprocess.DEVNULL,
        program: str | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        _heed_ctrl_c()
        self.mark = uuid.uuid4().hex
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("NOEX_")}
        inherited["PYTHONPATH"] = str(SUPPORT)
        if prelude:
            program = f"{prelude}\nfrom noex.cli.main import main\nmain()"
        what = ["-m", "noex.cli"] if program is None else ["-c", program]
        self.process = subprocess.Popen(
            [sys.executable, *options, *what, *arguments],
            env={**inherited, **(env or {}), MARK: self.mark},
            cwd=cwd,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._news = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Iterable[str], lines: list[str]) -> None:
        for line in stream:
            with self._news:
                lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pid in [*self.left(), self.process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(LIMIT)
        for reader in self._readers:
            reader.join(LIMIT)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    # ------------------------------------------------------------------ what it says

    @property
    def text(self) -> str:
        """All of its standard output so far."""
        return "\n".join(self.out)

    @property
    def errors(self) -> str:
        """All of its standard error so far."""
        return "\n".join(self.err)

    def until(self, part: str, *, on: str = "out", limit: float = LIMIT) -> str:
        """Wait for a line with `part`, and return the line."""
        lines: list[str] = getattr(self, on)
        found: Callable[[], list[str]] = lambda: [line for line in lines if part in line]  # noqa: E731
        with self._news:
            self._news.wait_for(lambda: found() or self.process.poll() is not None, limit)
        for reader in self._readers if self.process.poll() is not None else ():
            reader.join(limit)
        assert found(), f"no line with {part!r}\n--- out\n{self.text}\n--- err\n{self.errors}"
        return found()[0]

    # ------------------------------------------------------------------ how it ends

    def send(self, number: signal.Signals) -> None:
        """To the program alone: its children are in sessions of their own."""
        self.process.send_signal(number)

    def end(self, limit: float = LIMIT) -> int:
        """Wait for its end and all of its output; the exit status."""
        try:
            status = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            report = f"--- out\n{self.text}\n--- err\n{self.errors}"
            raise AssertionError(f"it still runs after {limit:g} s\n{report}") from None
        for reader in self._readers:
            reader.join(limit)
        return status

    def left(self) -> list[int]:
        """The other processes that came of it and still run, found by the mark."""
        return [pid for pid in marked(self.mark) if pid != self.process.pid]

    def until_nothing_is_left(self, limit: float = LIMIT) -> None:
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline and self.left():
            time.sleep(0.02)
        assert self.left() == [], f"still running after {limit:g} s"


def marked(mark: str) -> list[int]:
    """The living processes with this mark in their environment."""
    needle = f"{MARK}={mark}".encode()
    return [int(path.name) for path in Path("/proc").iterdir() if is_marked(path, needle)]


def is_marked(path: Path, needle: bytes) -> bool:
    if not path.name.isdigit():
        return False
    try:
        # A process that has ended and was not waited for has an empty environment.
        return needle in (path / "environ").read_bytes().split(b"\0")
    except OSError:
        return False  # gone meanwhile, or not ours


class Script(NoexNode):
    """A Python program of its own, from its text; `options` are for the interpreter."""

    def __init__(self, text: str, *, options: tuple[str, ...] = ()) -> None:
        super().__init__(program=text, options=options)


def run(*arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> NoexNode:
    """A program that ends by itself."""
    with NoexNode(*arguments, env=env, cwd=cwd) as program:
        program.end()
        return program
