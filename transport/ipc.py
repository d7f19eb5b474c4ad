"""``ipc://`` between the nodes of one host that use the same directory.

A node with `ipc_dir` listens there too, in a socket file named by its node id. A node that dials a
member looks into its own directory first: when somebody listens under that member's name, it dials
there, else over TCP. So nothing has to be told to anybody, a node without the directory is reached
as ever, and one on another host is never found in it.

1. `listen`: the directory is made (0700) or checked, and the socket file is open to this user alone
   (0600). Files that nobody listens at are removed, those of other nodes only when they are old:
   between bind and listen nobody listens, either.
2. `find`: the endpoint of a member that listens here, for `noex.transport.route`.
3. `leave` removes the file.

Who can reach the socket file is a matter of file permissions. It never leaves the machine, so it
needs no encryption; with encryption it is encrypted like all else.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import sys
import time
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import zmq

from noex.runtime.errors import InvalidOptionError, PortInUseError

LONGEST: Final = 107 if sys.platform.startswith("linux") else 103
"""Bytes that the path of a socket may have."""

LONGEST_NAME: Final = 48
STALE_AFTER: Final = 60.0
"""Seconds from which on a file of another node that nobody listens at is taken for a dead one's."""

_SUFFIX: Final = ".user"
_OPTION: Final = "ipc_dir"
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.@:\-\[\]]")


def file_name(node_id: str) -> str:
    """The name of a node's socket file: its id, or a hash of it if that is long."""
    name = _UNSAFE.sub("_", node_id)
    if name != node_id or len(name) > LONGEST_NAME:
        name = blake2b(node_id.encode(), digest_size=16).hexdigest()
    return name + _SUFFIX


def somebody_listens(path: Path) -> bool:
    """Whether a connect to the socket file is taken. Never waits."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:  # its backlog is full
            return True
        except OSError:
            return False
    return True


class IpcFolder:
    """The directory in which nodes of this host find each other."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder).absolute()
        self._own: Path | None = None

    def path_of(self, node_id: str) -> Path:
        """Where that node listens, if it does."""
        return self.folder / file_name(node_id)

    def listen(self, sock: zmq.Socket[bytes], node_id: str) -> None:
        """Bind the socket to this node's file, too.

        Raises `InvalidOptionError` for a directory that cannot be used, and `PortInUseError` when
        another process listens under this name.
        """
        path = self.path_of(node_id)
        self._check_length(path)
        self._prepare()
        _clear(path, self)
        self._sweep()
        try:
            sock.bind(f"ipc://{path}")
        except zmq.ZMQError as error:
            raise self.unusable(f"cannot bind {path}: {error}") from error
        self._own = path
        path.chmod(0o600)

    def find(self, node_id: str) -> str | None:
        """The endpoint of that node here; None if nobody listens under its name."""
        path = self.path_of(node_id)
        if len(os.fsencode(path)) > LONGEST or not path.exists() or not somebody_listens(path):
            return None
        return f"ipc://{path}"

    def leave(self) -> None:
        """Remove the file of this node. Idempotent."""
        path, self._own = self._own, None
        if path is not None:
            with suppress(OSError):
                path.unlink()

    def unusable(self, reason: str) -> InvalidOptionError:
        """The error for a directory that does not serve."""
        return InvalidOptionError(_OPTION, str(self.folder), reason)

    def _sweep(self) -> None:
        """Remove what killed nodes have left: with a port that is chosen none comes back for it."""
        for path in self.folder.glob("*" + _SUFFIX):
            with suppress(OSError):
                found = path.lstat()
                is_old = time.time() - found.st_mtime > STALE_AFTER
                if stat.S_ISSOCK(found.st_mode) and is_old and not somebody_listens(path):
                    path.unlink()

    def _check_length(self, path: Path) -> None:
        length = len(os.fsencode(path))
        if length > LONGEST:
            room = LONGEST - (length - len(os.fsencode(self.folder)))
            raise self.unusable(
                f"the path of the socket, {path}, has {length} bytes, the system allows "
                f"{LONGEST}; use a directory of at most {room}, such as /run/user/1000/noex"
            )

    def _prepare(self) -> None:
        if not zmq.has("ipc") or not hasattr(socket, "AF_UNIX"):
            raise self.unusable("there is no ipc:// on this platform; leave it out")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.folder.stat()
        except OSError as error:
            raise self.unusable(f"it cannot be made or looked at: {error}") from error
        if found.st_uid not in (os.geteuid(), 0):
            raise self.unusable(f"it belongs to the user {found.st_uid}; use one of your own")
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise self.unusable("others may write to it; chmod go-w, or use one of your own")


def _clear(path: Path, folder: IpcFolder) -> None:
    """Remove what a process has left behind; never what is in use, or no socket."""
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise folder.unusable(f"{path} is no socket; remove it")
    if somebody_listens(path):
        raise PortInUseError(str(path))
    with suppress(FileNotFoundError):
        path.unlink()


def check_ipc_dir(folder: Any) -> str | None:
    """What was said for `ipc_dir`, as a string. Raises `InvalidOptionError`."""
    if folder is None:
        return None
    if not isinstance(folder, str | os.PathLike) or not str(folder):
        raise InvalidOptionError(_OPTION, folder, "a directory, or None")
    text = os.fspath(folder)
    if not isinstance(text, str) or "\0" in text:
        raise InvalidOptionError(_OPTION, folder, "a directory, or None")
    return text
