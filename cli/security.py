"""The options of every command that speaks to nodes: which keys it has.

A secret is never an argument: arguments can be seen by everybody on the machine. It comes from a
file, or from the environment (``NOEX_CLUSTER_SECRET``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

SECRET_VARIABLE: Final = "NOEX_CLUSTER_SECRET"
VARIABLES: Final = (
    SECRET_VARIABLE,
    "NOEX_CLUSTER_SECRET_FILE",
    "NOEX_KEY_FILE",
    "NOEX_PEERS_FILE",
)
"""All variables that give a command keys."""
_NAMES: Final = ("cluster_secret_file", "key_file", "peers_file")

C = TypeVar("C", bound=Callable[..., Any])

_FILE: Final = click.Path(path_type=Path, dir_okay=False)
_OPTIONS: Final = (
    click.option(
        "--cluster-secret-file",
        type=_FILE,
        envvar="NOEX_CLUSTER_SECRET_FILE",
        help="File with the secret of the cluster (or the secret itself in NOEX_CLUSTER_SECRET).",
    ),
    click.option(
        "--key-file",
        type=_FILE,
        envvar="NOEX_KEY_FILE",
        help="File with the secret key of this node, as keygen writes it.",
    ),
    click.option(
        "--peers-file",
        type=_FILE,
        envvar="NOEX_PEERS_FILE",
        help="TOML file with the public keys of the nodes, in a table [peers].",
    ),
)


def environment_without_keys() -> dict[str, str]:
    """This program's environment, for nodes that are to have no keys."""
    return {name: text for name, text in os.environ.items() if name not in VARIABLES}


def security_options(command: C) -> C:
    """Adds ``--cluster-secret-file``, ``--key-file`` and ``--peers-file`` to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def take_security(options: dict[str, Any]) -> dict[str, Any]:
    """The `cluster_secret` and `keys` of a `NodeConfig`, in place of the options that say where.

    Raises `InvalidOptionError` for a file that cannot be read, or is of another form.
    """
    from noex.runtime.errors import InvalidOptionError
    from noex.transport.keys import NodeKeys, read_secret

    secret_file, key_file, peers_file = (options.get(name) for name in _NAMES)
    rest = {name: value for name, value in options.items() if name not in _NAMES}
    if peers_file is not None and key_file is None:
        reason = "it needs --key-file, the key of this node"
        raise InvalidOptionError("peers_file", str(peers_file), reason)
    if key_file is not None:
        rest["keys"] = NodeKeys.load(key_file, peers_file)
    if secret_file is not None:
        rest["cluster_secret"] = read_secret(secret_file, "cluster_secret")
    elif SECRET_VARIABLE in os.environ:  # an empty one is a mistake, not a wish for no encryption
        rest["cluster_secret"] = os.environ[SECRET_VARIABLE].rstrip("\r\n")
    return rest
