"""``noex-node keygen``: a key for a node, or a secret for a cluster, in a file of its owner's."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import Final

import click

MODE: Final = 0o600
SECRET_BYTES: Final = 32


@click.command("keygen")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--cluster-secret", is_flag=True, help="Make a secret for --cluster-secret-file.")
@click.option("--public", is_flag=True, help="Print the public key of a FILE that is there.")
def command(file: Path, cluster_secret: bool, public: bool) -> None:
    """Write a new secret key to FILE, and print its public key.

    The file can be read by its owner alone. FILE is for --key-file of one node, the public key for
    the --peers-file of all.
    """
    # Loads ZeroMQ, which `--help` does without.
    from noex.runtime.errors import NoexError
    from noex.transport.keys import NodeKeys

    if cluster_secret and public:
        raise click.UsageError("--cluster-secret and --public: a secret has no public half")
    try:
        if cluster_secret:
            _write(file, secrets.token_urlsafe(SECRET_BYTES))
            click.echo(f"wrote {file}; give it to every node of the cluster", err=True)
        elif public:
            click.echo(NodeKeys.load(file).public)
        else:
            keys = NodeKeys.generate()
            _write(file, keys.secret)
            click.echo(keys.public)
    except FileExistsError:
        _fail(f"{file} is there already; --public prints its public key, or take another name")
    except OSError as error:
        _fail(f"cannot write {file}: {error.strerror or error}")
    except NoexError as error:
        _fail(str(error))


def _write(file: Path, secret: str) -> None:
    """A new file, never an old one, that nobody else may read."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secret + "\n")


def _fail(text: str) -> None:
    click.echo(f"noex-node: {text}", err=True)
    sys.exit(1)
