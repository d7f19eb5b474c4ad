"""To look at the frames of a thread holds up nobody, and finds what is there."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading

import pytest

from noex.runtime.frames import frame_of

# While one thread looks, another starts threads, and garbage with code in its end comes up in
# both. Without care it stands within a second on CPython 3.11.2, and then for ever.
PROGRAM = """
import gc, sys, threading, time, weakref
from noex.runtime.frames import frame_of
gc.set_threshold(20, 2, 2)
sys.setswitchinterval(1e-5)
end = time.monotonic() + 2

class Node: pass

def litter():
    for _ in range(20):
        one = Node(); one.me = one
        weakref.finalize(one, lambda: sum(range(50)))

def look():
    while time.monotonic() < end:
        frame_of(threading.main_thread().ident)
        litter()

watcher = threading.Thread(target=look)
watcher.start()
started = 0
while time.monotonic() < end:
    thread = threading.Thread(target=litter)
    thread.start()
    thread.join()
    started += 1
watcher.join()
assert gc.isenabled()
print("ended", started)
"""


def test_threads_that_start_and_one_that_looks_do_not_wait_for_each_other() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=40, check=True
    )
    assert ended.stdout.startswith("ended")


def test_the_frame_of_a_thread_and_of_none() -> None:
    frame = frame_of(threading.get_ident())
    assert frame is not None and frame.f_back is not None
    assert frame_of(None) is None and frame_of(-1) is None


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    try:
        frame_of(threading.get_ident())
        assert not gc.isenabled()
    finally:
        gc.enable()


FORKS = """
import gc, os, threading, time
from noex.runtime.frames import frame_of

stop = False

def look():
    while not stop:
        frame_of(threading.main_thread().ident)

watcher = threading.Thread(target=look)
watcher.start()
for _ in range(200):
    child = os.fork()
    if not child:
        os._exit(0 if gc.isenabled() and frame_of(threading.get_ident()) else 1)
    assert os.waitpid(child, 0)[1] == 0
stop = True
watcher.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_in_the_middle_of_a_look_leaves_the_child_its_collector() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS], timeout=40, check=True)
