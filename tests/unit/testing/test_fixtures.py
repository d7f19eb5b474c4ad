"""The fixtures, each in a pytest of its own, as a project that uses noex would run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PLUGINS = ("-p", "no:cacheprovider", "-p", "no:randomly")
CONFTEST = 'pytest_plugins = ["noex.testing.fixtures"]\n'
HEAD = """
import asyncio
import pytest
from noex import GenServer, Node
from noex.testing import settle

class Echo(GenServer[None]):
    def init(self):
        return None
    def handle_call(self, message, state):
        return message, state
"""


def run_pytest(folder: Path, test: str, conftest: str = CONFTEST) -> tuple[int, str]:
    """The exit code and the output of a pytest run over these two files."""
    (folder / "conftest.py").write_text(conftest, encoding="utf-8")
    (folder / "test_project.py").write_text(test, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *PLUGINS, str(folder)],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=folder,
    )
    return done.returncode, done.stdout + done.stderr


GOOD = """
def test_nodes_run_on_the_loop_of_the_test(noex_run, noex_node):
    async def main():
        one, other = await noex_node(), await noex_node(slow_handler=None)
        ref = await one.start(Echo)
        assert await ref.call("hello") == "hello"
        stopping.extend([one, other])
    noex_run(main())

stopping = []

def test_they_were_stopped_after_it():
    assert len(stopping) == 2 and all(node.kernel.closed for node in stopping)

def test_in_virtual_time(virtual_time, noex_node, noex_events):
    async def main():
        node = await noex_node()
        await asyncio.sleep(3600)
        await settle()
        node.kernel.log.warning("an_event", seen=1)
        assert (await noex_events.wait_for("an_event"))["seen"] == 1
    virtual_time.run(main())
    assert virtual_time.now == 3600.0

@pytest.fixture
def plugin(request):
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()

def test_a_loop_of_another_plugin(noex_node, plugin):
    # As an asyncio plugin does it: its loop is closed before the fixtures of noex end.
    stopping.append(plugin.run_until_complete(noex_node()))

def test_the_loop_of_the_other_plugin_was_used_to_stop_it():
    assert stopping[-1].kernel.closed
"""

CLOSED = """
def test_the_loop_is_gone(noex_node):
    asyncio.run(noex_node(slow_handler=None))
"""

CLUSTER = """
def test_processes(noex_run, process_cluster):
    async def main():
        cluster = await process_cluster(1)
        pids.append(cluster["n1"].pid)
    noex_run(main())

pids = []

def test_they_are_gone():
    import os
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
"""


def test_nodes_are_stopped_on_the_loop_on_which_they_were_started(tmp_path: Path) -> None:
    code, output = run_pytest(tmp_path, HEAD + GOOD)
    assert code == 0 and "5 passed" in output, output


def test_a_loop_that_was_closed_too_early_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    code, output = run_pytest(tmp_path, HEAD + CLOSED)
    assert code == 1 and "run the test with noex_run or virtual_time" in output, output


@pytest.mark.slow
def test_the_processes_of_a_cluster_are_killed_after_the_test(tmp_path: Path) -> None:
    code, output = run_pytest(tmp_path, HEAD + CLUSTER)
    assert code == 0 and "2 passed" in output, output


def test_the_helpers_do_not_need_pytest() -> None:
    check = "import sys, noex.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=30).returncode == 0
