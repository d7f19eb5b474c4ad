"""Keys on the command line: where they come from, and that none is ever said."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from noex.cli import security, serving, start
from noex.cli.commands import group
from noex.config import NodeConfig
from noex.transport.keys import ClusterSecret, NodeKeys

SECRET = "a secret of twenty-nine bytes"
OTHER = "another one of thirty-two bytes!"
A = "a@127.0.0.1:4001"


def invoke(*arguments: object, **env: str) -> Result:
    variables = {f"NOEX_{name}": text for name, text in env.items()}
    return CliRunner().invoke(group, [str(argument) for argument in arguments], env=variables)


@pytest.fixture
def configs(monkeypatch: pytest.MonkeyPatch) -> list[NodeConfig]:
    """The settings with which `start` would serve."""
    seen: list[NodeConfig] = []

    async def serve(config: NodeConfig, **_: Any) -> None:
        seen.append(config)

    monkeypatch.setattr(serving, "_serve", serve)
    monkeypatch.setattr("noex.cli.logs.configure", lambda *_: None)
    return seen


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return path


@pytest.fixture
def key_files(tmp_path: Path) -> tuple[Path, Path]:
    """A key for the node A, and a list with it and another one."""
    key, peers = tmp_path / "a.key", tmp_path / "peers.toml"
    public = invoke("keygen", key).stdout.strip()
    other = NodeKeys.generate().public
    peers.write_text(f'[peers]\n"{A}" = "{public}"\n"b@127.0.0.1:4002" = "{other}"\n')
    return key, peers


def test_a_secret_comes_from_a_file_or_a_variable(
    configs: list[NodeConfig], secret_file: Path
) -> None:
    invoke("start", A, "--cluster-secret-file", secret_file)
    invoke("start", A, CLUSTER_SECRET_FILE=str(secret_file))
    invoke("start", A, CLUSTER_SECRET=SECRET + "\n")  # as from $(cat) or not
    invoke("start", A, "--cluster-secret-file", secret_file, CLUSTER_SECRET=OTHER)
    invoke("start", A, CLUSTER_SECRET=OTHER)
    invoke("start", A)
    secrets = [config.cluster_secret for config in configs]
    assert secrets == [ClusterSecret(SECRET)] * 4 + [ClusterSecret(OTHER), None]


def test_no_secret_is_an_argument(configs: list[NodeConfig]) -> None:
    """Everybody on the machine can see those."""
    result = invoke("start", A, "--cluster-secret", SECRET)
    assert result.exit_code == 2 and configs == []


def test_keys_come_from_files(configs: list[NodeConfig], key_files: tuple[Path, Path]) -> None:
    key, peers = key_files
    invoke("start", A, "--key-file", key, "--peers-file", peers)
    invoke("start", A, KEY_FILE=str(key), PEERS_FILE=str(peers))
    assert [config.keys for config in configs] == [NodeKeys.load(key, peers)] * 2


@pytest.mark.parametrize(
    ("options", "env", "said"),
    [
        ((), {"CLUSTER_SECRET": "short"}, "it has 5 bytes, at least 16"),
        ((), {"CLUSTER_SECRET": ""}, "it has 0 bytes, at least 16"),
        (("--cluster-secret-file", "nowhere"), {}, "cannot read nowhere: No such file"),
        (("--key-file", "nowhere"), {}, "cannot read nowhere: No such file"),
        (("--peers-file", "nowhere"), {}, "it needs --key-file"),
    ],
)
def test_wrong_usage_is_named(
    options: tuple[str, ...], env: dict[str, str], said: str, configs: list[NodeConfig]
) -> None:
    result = invoke("start", A, *options, **env)
    assert result.exit_code == 2
    assert said in result.output and "Traceback" not in result.output
    status = invoke("status", A, *options, **env)
    assert status.exit_code in (1, 2)
    assert said in status.output
    assert configs == []


def test_both_ways_at_once_are_refused(
    configs: list[NodeConfig], key_files: tuple[Path, Path], secret_file: Path
) -> None:
    key, peers = key_files
    options = ("--key-file", key, "--peers-file", peers, "--cluster-secret-file", secret_file)
    result = invoke("start", A, *options)
    assert result.exit_code == 2 and "one or the other" in result.output
    assert SECRET not in result.output and key.read_text().strip() not in result.output


def test_an_insecure_address_names_the_cures(configs: list[NodeConfig]) -> None:
    result = invoke("start", "a@0.0.0.0:4001")
    assert result.exit_code == 2
    for cure in ("--cluster-secret-file", "--key-file", "--insecure", "cluster_secret="):
        assert cure in result.output
    assert invoke("start", "a@0.0.0.0:4001", CLUSTER_SECRET=SECRET).exit_code == 0


def test_the_nodes_of_the_demo_have_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one of them, and has none."""
    for variable in security.VARIABLES:
        monkeypatch.setenv(variable, "x")
    monkeypatch.setenv("NOEX_CLUSTER", "kept")
    environment = security.environment_without_keys()
    assert not set(security.VARIABLES) & environment.keys()
    assert environment["NOEX_CLUSTER"] == "kept"
    takes = {p.envvar for p in start.command.params if "file" in (p.name or "")}
    assert takes | {"NOEX_CLUSTER_SECRET"} == set(security.VARIABLES)


# ---------------------------------------------------------------------- keygen


def test_a_key_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.key"
    result = invoke("keygen", file)
    assert result.exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    keys = NodeKeys.load(file)
    assert result.output == keys.public + "\n"
    assert invoke("keygen", "--public", file).output == result.output


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "a.key"
    file.write_text("precious\n")
    for options in ((), ("--cluster-secret",)):
        result = invoke("keygen", *options, file)
        assert result.exit_code == 1 and "is there already" in result.output
    assert file.read_text() == "precious\n"


def test_a_secret_is_written_and_not_said(tmp_path: Path, configs: list[NodeConfig]) -> None:
    file = tmp_path / "secret"
    result = invoke("keygen", "--cluster-secret", file)
    assert result.exit_code == 0
    secret = file.read_text().strip()
    assert len(secret) >= 40 and secret not in result.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    invoke("start", A, "--cluster-secret-file", file)
    assert [config.cluster_secret for config in configs] == [ClusterSecret(secret)]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--public", "nowhere"), 1, "cannot read nowhere"),
        (("no/such/folder/a.key",), 1, "cannot write no/such/folder/a.key"),
        (("--public", "--cluster-secret", "x"), 2, "a secret has no public half"),
        ((), 2, "Missing argument 'FILE'"),
    ],
)
def test_what_keygen_cannot_do_is_said(arguments: tuple[str, ...], status: int, said: str) -> None:
    result = invoke("keygen", *arguments)
    assert result.exit_code == status and said in result.output
