"""Whole programs with a blocking node: Ctrl-C, a forgotten stop, and what they leave behind."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from programs import LIMIT, Script

import noex

HEAD = """
import asyncio, os, sys, threading, time
import noex
from noex import GenServer, Node, NoReply

def say(text):
    print(text, flush=True)

class Worker(GenServer):
    def init(self, cling=0.0):
        return cling

    def handle_call(self, message, state):
        match message:
            case "never":
                say("waiting")
                return NoReply()
            case "hold":
                say("waiting")
                time.sleep(3600)
            case "interrupt":
                raise KeyboardInterrupt
        return message, state

    async def terminate(self, reason, state):
        say(f"terminate {reason}")
        await asyncio.sleep(state)
        say("terminated")
"""
# What an interpreter says when something is left over, or when its end goes wrong.
NOISE = ("Exception ignored", "was destroyed", "never awaited", "never retrieved", "Fatal", "Warn")


def script(body: str, *, head: str = HEAD) -> Script:
    return Script(head + body, options=("-X", "dev", "-W", "error::ResourceWarning"))


def ended_by_ctrl_c(program: Script) -> None:
    """It ended as Python programs do after Ctrl-C, and said nothing but where it was."""
    assert program.end() == -signal.SIGINT, program.errors
    assert program.err[-1] == "KeyboardInterrupt", program.errors
    is_quiet(program)


def is_quiet(program: Script) -> None:
    assert [line for line in program.err if any(word in line for word in NOISE)] == []
    program.until_nothing_is_left()


def test_ctrl_c_ends_a_pending_call_at_once_and_with_stops_the_node() -> None:
    body = """
with noex.blocking(Node()) as node:
    worker = node.start(Worker)
    try:
        worker.call("never", timeout=None)
    except KeyboardInterrupt:
        say(f"interrupted, {worker.call('alive')}")
        raise
    finally:
        threads = threading.active_count()
"""
    with script(body) as program:
        program.until("waiting")
        asked = time.monotonic()
        program.send(signal.SIGINT)
        program.until("interrupted, alive")
        assert time.monotonic() - asked < LIMIT / 4
        ended_by_ctrl_c(program)
        assert program.out[-2:] == ["terminate shutdown", "terminated"]


def test_ctrl_c_at_any_moment_costs_one_call_and_nothing_else() -> None:
    """Between any two lines: others go on, nothing hangs, and no reply goes to another call."""
    body = """
import signal
armed, hits = False, 0

def strike(number, frame):
    global hits
    if armed:
        hits += 1
        raise KeyboardInterrupt

signal.signal(signal.SIGINT, strike)
ended = threading.Event()

def other():
    count = 0
    while count < 100 or not ended.is_set():
        assert worker.call(count) == count
        worker.send(count)
        count += 1
    say("other is done")

class Quiet(Worker):
    def handle_info(self, message, state):
        return None

with noex.blocking(Node()) as node:
    worker = node.start(Quiet)
    thread = threading.Thread(target=other)
    thread.start()
    say("ready")
    count = 0
    while hits < 100:
        try:
            armed = True
            while True:
                count += 1
                assert worker.call(count) == count
                worker.send(count)
                node.members()
        except KeyboardInterrupt:
            armed = False
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # some are still under way
    ended.set()
    thread.join(30)
    say(f"alive {worker.call('alive')} {len(node._thread.jobs)}")
"""
    with script(body) as program:
        program.until("ready")
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline and not program.text.count("other"):
            program.send(signal.SIGINT)
            time.sleep(0.003)
        program.until("alive alive 0")
        program.until("other is done")
        assert program.end() == 0, program.errors
        is_quiet(program)


def test_the_call_that_ctrl_c_ended_is_withdrawn() -> None:
    body = """
with noex.blocking(Node()) as node:
    worker = node.start(Worker)
    try:
        worker.call("never", timeout=None)
    except KeyboardInterrupt:
        while node.run(lambda: node._thread.jobs):
            pass
        say("withdrawn")
"""
    with script(body) as program:
        program.until("waiting")
        program.send(signal.SIGINT)
        program.until("withdrawn")
        assert program.end() == 0
        is_quiet(program)


def test_a_second_ctrl_c_hurries_a_slow_stop() -> None:
    body = """
with noex.blocking(Node(terminate_timeout=600.0, drain_timeout=600.0, kill_grace=0.2)) as node:
    node.start(Worker, 600.0)
    node.start(Worker).call("never", timeout=None)
"""
    with script(body) as program:
        program.until("waiting")
        program.send(signal.SIGINT)
        while program.text.count("terminate shutdown") < 2:
            program.until("terminate shutdown")
        asked = time.monotonic()
        program.send(signal.SIGINT)
        ended_by_ctrl_c(program)
        assert time.monotonic() - asked < LIMIT / 2


def test_ctrl_c_while_a_handler_holds_the_loop_and_again_while_it_stops() -> None:
    body = """
with noex.blocking(Node()) as node:
    try:
        node.start(Worker).call("hold", timeout=None)
    finally:
        say("interrupted")
"""
    with script(body) as program:
        program.until("waiting")
        program.send(signal.SIGINT)
        program.until("interrupted")
        program.send(signal.SIGINT)
        ended_by_ctrl_c(program)


def test_ctrl_c_while_a_clustered_node_starts() -> None:
    body = """
node = noex.blocking(Node("a@127.0.0.1:0", seeds=["b@127.0.0.1:9"], join_timeout=600.0))

def tell():
    while node.plain.network is None or node.plain.network.membership is None:
        pass
    say("joining")

teller = threading.Thread(target=tell)
teller.start()
try:
    node.start_up()
finally:
    teller.join()
    say(f"threads {threading.active_count()}")
"""
    with script(body) as program:
        program.until("joining")
        program.send(signal.SIGINT)
        program.until("threads 1")
        ended_by_ctrl_c(program)


def test_a_program_that_forgets_to_stop_ends_and_its_node_stops_in_order() -> None:
    body = """
node = noex.blocking(Node("a@127.0.0.1:0"))
node.start_up()
say(node.start(Worker).call("called"))
"""
    with script(body) as program:
        assert program.end() == 0, program.errors
        assert program.out == ["called", "terminate shutdown", "terminated"]
        assert program.err == []


def test_a_program_that_ends_by_an_error_while_others_wait() -> None:
    body = """
node = noex.blocking(Node())
node.start_up()
worker = node.start(Worker)
threading.Thread(target=lambda: worker.call("never", timeout=None), daemon=True).start()
while not node.run(lambda: node._thread.jobs):
    pass
raise ValueError("as told")
"""
    with script(body) as program:
        assert program.end() == 1
        assert "ValueError: as told" in program.errors
        assert program.out[-1] == "terminated"


def test_ctrl_c_out_of_a_handler_stops_the_node_and_ends_the_program() -> None:
    body = """
with noex.blocking(Node()) as node:
    node.start(Worker)
    node.start(Worker).call("interrupt")
"""
    with script(body) as program:
        ended_by_ctrl_c(program)
        assert program.text.count("terminated") == 2


def test_a_fork_of_a_program_ends_by_itself() -> None:
    body = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of any fork with threads
with noex.blocking(Node()) as node:
    worker = node.start(Worker)
    child = os.fork()
    if child == 0:
        try:
            worker.call("x")
        except noex.NodeStoppedError as error:
            say("fork" in str(error))
        sys.exit(3)
    say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    say(worker.call("parent"))
"""
    with script(body) as program:
        assert program.end() == 0, program.errors
        assert program.out == ["True", "3", "parent", "terminate shutdown", "terminated"]
        is_quiet(program)


@pytest.mark.parametrize("options", ['"a@127.0.0.1:0"', ""])
def test_a_program_that_only_starts_and_stops_says_nothing(options: str) -> None:
    body = f"""
with noex.blocking(Node({options})) as node:
    node.members()
say(threading.active_count())
"""
    with script(body) as program:
        assert program.end() == 0, program.errors
        assert (program.out, program.err) == (["1"], [])


def test_importing_it_does_not_hide_the_function() -> None:
    assert callable(noex.blocking)
    folder = Path(noex.__file__).parent
    assert not (folder / "blocking.py").exists()
