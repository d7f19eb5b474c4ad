"""The directory for ipc:// sockets: what is made, what is refused, and where a dial goes."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import zmq

from noex.runtime.errors import InvalidOptionError, PortInUseError
from noex.transport.ipc import (
    LONGEST,
    STALE_AFTER,
    IpcFolder,
    check_ipc_dir,
    file_name,
    somebody_listens,
)

if not zmq.has("ipc"):
    pytest.skip("libzmq has no ipc:// here", allow_module_level=True)

A = "a@127.0.0.1:4369"


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="nx") as short:  # pytest's own may be too long for a socket
        yield Path(short) / "run"


@pytest.fixture
def router() -> Iterator[zmq.Socket[bytes]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sock = context.socket(zmq.ROUTER)
    yield sock
    context.destroy(linger=0)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def leave_a_dead_socket(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()


def test_directory_and_socket_are_for_this_user_alone(
    folder: Path, router: zmq.Socket[bytes]
) -> None:
    ipc = IpcFolder(str(folder / "deep"))
    ipc.listen(router, A)
    assert mode_of(folder / "deep") == 0o700
    assert mode_of(ipc.path_of(A)) == 0o600
    assert ipc.find(A) == f"ipc://{ipc.path_of(A)}"
    ipc.leave()
    ipc.leave()
    assert list((folder / "deep").iterdir()) == []


def test_what_a_dead_process_left_is_replaced(folder: Path, router: zmq.Socket[bytes]) -> None:
    ipc = IpcFolder(str(folder))
    leave_a_dead_socket(ipc.path_of(A))
    assert ipc.find(A) is None
    ipc.listen(router, A)
    assert somebody_listens(ipc.path_of(A))


def test_what_killed_nodes_have_left_is_swept_and_nothing_else(
    folder: Path, router: zmq.Socket[bytes]
) -> None:
    ipc = IpcFolder(str(folder))
    dead, starting = ipc.path_of("dead@127.0.0.1:1"), ipc.path_of("starting@127.0.0.1:1")
    leave_a_dead_socket(dead)
    leave_a_dead_socket(starting)  # between bind and listen, as far as can be seen
    no_socket = folder / "notes.user"
    no_socket.write_text("")
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(ipc.path_of("living@127.0.0.1:1")))
        living.listen()
        long_ago = time.time() - 2 * STALE_AFTER
        for path in (dead, no_socket, ipc.path_of("living@127.0.0.1:1")):
            os.utime(path, (long_ago, long_ago))
        ipc.listen(router, A)
        left = {path.name for path in folder.iterdir()}
    assert left == {
        "living@127.0.0.1:1.user",
        "starting@127.0.0.1:1.user",
        "notes.user",
        f"{A}.user",
    }


def test_a_name_in_use_is_not_taken_away(folder: Path, router: zmq.Socket[bytes]) -> None:
    ipc, other = IpcFolder(str(folder)), IpcFolder(str(folder))
    ipc.listen(router, A)
    with pytest.raises(PortInUseError, match="in use"):
        other.listen(router, A)
    other.leave()
    assert somebody_listens(ipc.path_of(A))


def test_a_file_that_is_no_socket_is_never_removed(folder: Path, router: zmq.Socket[bytes]) -> None:
    ipc = IpcFolder(str(folder))
    folder.mkdir(mode=0o700)
    ipc.path_of(A).write_text("precious")
    with pytest.raises(InvalidOptionError, match="is no socket"):
        ipc.listen(router, A)
    assert ipc.path_of(A).read_text() == "precious"


def test_a_directory_that_others_may_write_to_is_refused(
    folder: Path, router: zmq.Socket[bytes]
) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(InvalidOptionError, match="others may write to it"):
        IpcFolder(str(folder)).listen(router, A)
    assert list(folder.iterdir()) == []


def test_a_file_in_place_of_the_directory_is_named(folder: Path, router: zmq.Socket[bytes]) -> None:
    folder.write_text("")
    with pytest.raises(InvalidOptionError, match="cannot be made or looked at"):
        IpcFolder(str(folder / "in_a_file")).listen(router, A)


def test_a_path_too_long_for_a_socket_is_refused_with_the_limit(
    folder: Path, router: zmq.Socket[bytes]
) -> None:
    deep = folder / ("x" * 90)
    with pytest.raises(InvalidOptionError, match=rf"the system allows {LONGEST}; .* at most \d+"):
        IpcFolder(str(deep)).listen(router, A)
    assert not deep.exists()
    assert IpcFolder(str(deep)).find(A) is None
    room = LONGEST - len(os.fsencode(folder)) - len(file_name(A)) - 2
    fitting = IpcFolder(str(folder / ("x" * room)))
    fitting.listen(router, A)
    assert len(os.fsencode(fitting.path_of(A))) == LONGEST
    assert fitting.find(A) is not None


@pytest.mark.parametrize(
    "node_id", ("n" * 63 + "@" + "h" * 60 + ":65535", "a@[fe80::1%eth0]:4369", "a@[::1]:1")
)
def test_every_node_id_gives_a_short_name_of_its_own(node_id: str) -> None:
    assert len(file_name(node_id)) <= 53
    assert "/" not in file_name(node_id)
    assert file_name(node_id) != file_name(node_id + "0")


@pytest.mark.parametrize("wrong", (3, "", b"/run", "a\0b"))
def test_what_is_no_directory_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidOptionError, match="a directory, or None"):
        check_ipc_dir(wrong)


def test_a_path_and_none_are_taken() -> None:
    assert check_ipc_dir(Path("/run/app")) == "/run/app"
    assert check_ipc_dir(None) is None
