"""What the commands take and refuse, without starting anything."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from noex.cli import demo_cluster, logs, serving
from noex.cli.commands import group
from noex.cli.signals import STOPPING
from noex.config import NodeConfig


@pytest.fixture(autouse=True)
def same_signals() -> Iterator[None]:
    """The commands set signal handlers, as programs do; the tests take that back."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def same_logging() -> Iterator[None]:
    """They configure logging, too."""
    root, own = logging.getLogger(), logging.getLogger("noex")
    before = root.handlers[:], root.level, own.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    own.setLevel(before[2])


def invoke(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(group, arguments, env={f"NOEX_{k}": v for k, v in env.items()})


@pytest.fixture
def configs(monkeypatch: pytest.MonkeyPatch) -> list[NodeConfig]:
    """The settings with which `start` would serve."""
    seen: list[NodeConfig] = []

    async def serve(config: NodeConfig, *, until_stdin_closes: bool) -> None:
        seen.append(config)

    monkeypatch.setattr(serving, "_serve", serve)
    return seen


OPTIONS = {
    "seeds": ("--seed", "NOEX_SEEDS", "b@h:1", ("b@h:1",), "c@h:2", ("c@h:2",)),
    "cluster": ("--cluster", "NOEX_CLUSTER", "blue", "blue", "red", "red"),
    "bind": ("--bind", "NOEX_BIND", "127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.3"),
    "user_port": ("--user-port", "NOEX_USER_PORT", "7001", 7001, "7002", 7002),
    "pub_port": ("--pub-port", "NOEX_PUB_PORT", "7001", 7001, "7002", 7002),
    "ipc_dir": ("--ipc-dir", "NOEX_IPC_DIR", "/run/a", "/run/a", "/run/b", "/run/b"),
    "labels": ("--label", "NOEX_LABELS", "k=v", {"k": "v"}, "k=w=x", {"k": "w=x"}),
    "expected_peers": ("--expected-peers", "NOEX_EXPECTED_PEERS", "3", 3, "4", 4),
    "join_timeout": ("--join-timeout", "NOEX_JOIN_TIMEOUT", "3", 3.0, "4.5", 4.5),
    "drain_timeout": ("--drain-timeout", "NOEX_DRAIN_TIMEOUT", "3", 3.0, "4.5", 4.5),
    "slow_handler": ("--slow-handler", "NOEX_SLOW_HANDLER", "3", 3.0, "0", None),
    "blocking_threads": ("--blocking-threads", "NOEX_BLOCKING_THREADS", "3", 3, "4", 4),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_setting_comes_from_the_flag_else_the_variable(
    name: str, configs: list[NodeConfig]
) -> None:
    flag, variable, text, value, other_text, other = OPTIONS[name]
    environment = {variable.removeprefix("NOEX_"): other_text}
    assert invoke("start", "a@127.0.0.1:0", **environment).exit_code == 0
    assert invoke("start", "a@127.0.0.1:0", flag, text, **environment).exit_code == 0
    assert invoke("start", "a@127.0.0.1:0").exit_code == 0
    defaults = NodeConfig(node_id="a@127.0.0.1:0")
    expected = [other, value, getattr(defaults, name)]
    assert [getattr(config, name) for config in configs] == expected


def test_a_list_may_be_repeated_or_have_commas(configs: list[NodeConfig]) -> None:
    invoke("start", "a@h:0", "--insecure", "--seed", "b@h:1,c@h:2", "--seed", "d@h:3")
    invoke("start", INSECURE="1", NODE_ID="a@h:0", SEEDS="b@h:1,c@h:2")
    assert [config.seeds for config in configs] == [
        ("b@h:1", "c@h:2", "d@h:3"),
        ("b@h:1", "c@h:2"),
    ]
    assert all(config.insecure for config in configs)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bad",), "invalid node id 'bad': there is no '@' in it; the form is name@host:port"),
        (("a@h:1",), "refusing to bind h: without security"),
        (("a@127.0.0.1:0", "--seed", "b"), "invalid node id 'b'"),
        (("a@127.0.0.1:0", "--seed", "b@h:0"), "a seed needs the port on which it listens"),
        (("a@127.0.0.1:0", "--user-port", "70000"), "a port from 0 (chosen) to 65535"),
        (("a@127.0.0.1:0", "--join-timeout", "0"), "join_timeout=0.0: seconds above 0"),
        (("a@127.0.0.1:0", "--slow-handler", "-1"), "slow_handler=-1.0: seconds above 0, or None"),
        (("a@127.0.0.1:0", "--blocking-threads", "0"), "a number from 1 to 10000"),
        (("a@127.0.0.1:0", "--label", "zone"), "'zone' is not KEY=VALUE"),
        (("a@127.0.0.1:0", "--log-level", "loud"), "'loud' is not one of"),
        ((), "Missing argument 'NODE_ID'"),
    ],
)
def test_wrong_usage_of_start_is_named(
    arguments: tuple[str, ...], said: str, configs: list[NodeConfig]
) -> None:
    result = invoke("start", *arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert configs == []


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("no_such.module", "No module named 'no_such'; name a module that Python can import"),
        ("..relative", "name a module that Python can import from here, as package.module"),
        ("a b", "No module named 'a b'"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(
    module: str, said: str, configs: list[NodeConfig]
) -> None:
    result = invoke("start", "a@127.0.0.1:0", "--behaviors", module)
    assert result.exit_code == 1
    assert result.output.startswith(f"noex-node: --behaviors {module}: ")
    assert said in result.output
    assert result.output.count("\n") == 1
    assert configs == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("foo",), "invalid node id 'foo'"),
        (("a@127.0.0.1:0",), "a running node has a port"),
        (("a@127.0.0.1:1", "--timeout", "0"), "0.0 is not in the range"),
    ],
)
def test_wrong_usage_of_status_is_named(arguments: tuple[str, ...], said: str) -> None:
    result = invoke("status", *arguments)
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--workers", "2"), "2 is not in the range"),
        (("--workers", "61"), "61 is not in the range"),
        (("--input", "/dev/null"), "neither a file nor a folder"),
    ],
)
def test_wrong_usage_of_the_demo_starts_nothing(
    arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(demo_cluster, "run", lambda *given: started.append(given))
    result = invoke("demo", *arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert started == []


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ("start", "-h"), ("status", "-h")])
def test_help_explains(arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")


def test_the_version_is_the_one_that_is_installed() -> None:
    from importlib.metadata import version

    result = invoke("--version")
    assert result.exit_code == 0
    assert version("noex") in result.output


# ---------------------------------------------------------------------- logs


def record(event: dict[str, Any] | None = None, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("noex", logging.WARNING, "f.py", 1, "plain words", None, None)
    if event is not None:
        made.noex = event
    vars(made).update(fields)
    return made


def test_a_json_line_has_time_level_event_and_its_fields() -> None:
    line = logs.JsonFormatter().format(
        record({"event": "node_up", "peer": "b", "odd": {1, 2}.__class__}, created=0.25)
    )
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "warning",
        "event": "node_up",
        "peer": "b",
        "odd": "<class 'set'>",
    }


def test_a_foreign_record_and_a_traceback_fit_into_one_json_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        made = record(exc_info=sys.exc_info())
    line = logs.JsonFormatter().format(made)
    assert "\n" not in line
    parsed = json.loads(line)
    assert parsed["event"] == "plain words"
    assert "ValueError: two\nlines" in parsed["exception"]


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["start", "-h"], ["status", "-h"], ["demo", "-h"]],
    ids=" ".join,
)
def test_help_loads_neither_zeromq_nor_the_runtime(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom noex.cli.main import main\nsys.argv[0] = 'noex-node'\n"
        "try:\n    main()\nfinally:\n"
        "    print([m for m in ('zmq', 'msgpack', 'asyncio', 'noex.node') if m in sys.modules])"
    )
    command = [sys.executable, "-c", program, *arguments]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=40).stdout
    assert output.splitlines()[-1] == "[]"
