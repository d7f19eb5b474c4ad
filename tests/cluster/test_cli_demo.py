"""The demo for real: three processes, one SIGKILL, nothing lost, and nothing left running."""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from programs import NoexNode

from noex.cli.demo_text import python_reference

pytestmark = pytest.mark.slow

LINES = 400


def write_text(folder: Path) -> Path:
    """A small folder: three text files, one deeper, and one that is no text."""
    (folder / "deeper").mkdir(parents=True)
    for number, name in enumerate(("a.txt", "b.md", "deeper/c.rst")):
        lines = [f"{name[0]} line {n} of chapter number {number}\n" for n in range(LINES)]
        (folder / name).write_text("".join(lines))
    (folder / "picture.png").write_bytes(b"unmistakable bytes")
    return folder


def demo(*arguments: str) -> tuple[NoexNode, int]:
    """Run it to its end; nothing may be left."""
    with NoexNode("demo", *arguments) as program:
        status = program.end()
        assert program.left() == []
    assert "Traceback" not in program.errors
    return program, status


def check(figures: dict[str, Any]) -> None:
    """What every good run has, and how its figures hang together."""
    assert figures["equal"] is True
    assert figures["lost"] == figures["counted_twice"] == 0
    assert sum(figures["chunks_by_node"].values()) == figures["chunks"]
    assert sum(figures["chunks_by_process"].values()) == figures["chunks"]
    assert len(figures["chunks_by_process"]) == len(figures["chunks_by_node"]) <= 3
    assert figures["words"] >= figures["different_words"] > 0
    victim = figures["killed"]
    assert all(figures["placement"].values()), "a node without workers"
    held = figures["held_at_kill"]
    assert held
    assert set(held) <= set(figures["placement"][victim])
    assert figures["handed_out_again"] >= len(held)
    assert {move["child"] for move in figures["moves"]} == set(figures["placement"][victim])
    assert figures["detected_after"] > 0
    for move in figures["moves"]:
        assert move["from"] == victim
        assert move["to"] in set(figures["placement"]) - {victim}
        assert 0 < move["answered_after"] < move["chunk_after"] < figures["work_seconds"]
        assert move["chunks_afterwards"] >= 1
    assert figures["work_seconds"] < figures["seconds"]


def test_a_text_is_counted_in_full_though_a_node_is_killed(half: str) -> None:
    """The default text is three times as long; the check of the whole repository runs that."""
    program, status = demo("--json", "--input", half)
    figures = json.loads(program.text)
    assert status == 0
    check(figures)
    assert len(figures["placement"]) == 3
    assert sum(map(len, figures["placement"].values())) == 6
    assert figures["words"] > 15_000


@pytest.mark.long
def test_a_folder_of_texts_with_more_workers(tmp_path: Path) -> None:
    folder = write_text(tmp_path / "texts")
    program, status = demo("--json", "--input", str(folder), "--workers", "11")
    figures = json.loads(program.text)
    assert status == 0
    check(figures)
    words = Counter()
    for path in (*folder.glob("?.*"), *folder.glob("deeper/*")):
        words.update(re.findall(r"[a-z]+", path.read_text().lower()))
    assert (figures["words"], figures["different_words"]) == (words.total(), len(words))
    assert sum(map(len, figures["placement"].values())) == 11


def test_one_word_is_enough_and_the_story_is_told_in_plain_lines(tmp_path: Path) -> None:
    (tmp_path / "word").write_text("hello")
    program, status = demo("--input", str(tmp_path / "word"))
    assert status == 0
    told = program.text
    victim = re.search(r"SIGKILL to (\w+) \(pid (\d+)\)", told)
    assert victim
    name, pid = victim.groups()
    assert re.search(rf"^  {name}@127.0.0.1:\d+ +pid {pid}$", told, re.MULTILINE)
    there = re.search(rf"^  {name} +(worker.*)$", told, re.MULTILINE)
    assert there
    for child in there[1].split(", "):
        assert re.search(rf"\+\d+ ms  {child} answers from (?!{name})\w+ \(pid \d+\)", told)
        assert re.search(rf"\+\d+ ms  {child} has finished chunk \d+", told)
    assert "48 of 48 chunks counted: 0 lost, 0 counted twice" in told
    assert "1 words, 1 different ones" in told
    assert "Equal to what a single process counts." in told


def test_a_wrong_count_is_seen_and_is_a_failure(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("this word is forgettable and the others are not " * 20)
    prelude = "import noex.cli.demo_nodes as nodes\nnodes.BEHAVIORS = 'demo_faulty'"
    with NoexNode("demo", "--input", str(text), prelude=prelude) as program:
        assert program.end() == 1
        assert program.left() == []
    assert "NOT equal to what a single process counts: words differ." in program.text
    assert "48 of 48 chunks counted: 0 lost" in program.text


def test_bad_input_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    with NoexNode("demo", "--input", "missing", cwd=tmp_path) as program:
        assert program.end() == 2
    assert "cannot read missing: No such file or directory" in program.errors
    assert program.text == ""


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Work for a second or two, so that there is a middle to be interrupted in."""
    path = tmp_path_factory.mktemp("half") / "text.txt"
    path.write_text(python_reference()[:150_000])
    return str(path)


MOMENTS = {
    "while nodes start": "Starting 3 nodes",
    "while working": "chunks of text",
    "during failover": "SIGKILL to",
    "while it compares": "All done",
}
LONG = {"during failover", "while it compares"}


@pytest.mark.parametrize(
    "moment", [pytest.param(m, marks=[pytest.mark.long] if m in LONG else []) for m in MOMENTS]
)
def test_ctrl_c_leaves_nothing(moment: str, half: str) -> None:
    with NoexNode("demo", "--input", half) as program:
        program.until(MOMENTS[moment])
        program.send(signal.SIGINT)
        assert program.end() == 130
        assert program.left() == []
    assert program.errors == "noex-node: interrupted; nothing is left running"


def test_ctrl_c_in_the_first_moment_leaves_nothing() -> None:
    with NoexNode("demo") as program:
        program.send(signal.SIGINT)
        # Before the first line of ours, the interpreter has its own ways to end.
        assert program.end() in (130, -signal.SIGINT, 1)
        assert program.left() == []
    assert program.text == ""


@pytest.mark.long
def test_ctrl_c_in_the_last_moment_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "word").write_text("hello")
    with NoexNode("demo", "--input", str(tmp_path / "word")) as program:
        program.until("chunks counted")
        program.send(signal.SIGINT)
        assert program.end() in (130, 0)  # or it was through
        assert program.left() == []
    assert "Traceback" not in program.errors


@pytest.mark.long
def test_more_ctrl_c_only_makes_it_quicker(half: str) -> None:
    with NoexNode("demo", "--input", half) as program:
        program.until("chunks of text")
        for _ in range(3):
            program.send(signal.SIGINT)
        assert program.end() == 130
        assert program.left() == []
    assert "Traceback" not in program.errors


@pytest.mark.long
def test_sigterm_is_as_good_as_ctrl_c() -> None:
    with NoexNode("demo") as program:
        program.until("A distributed supervisor")
        program.send(signal.SIGTERM)
        assert program.end() == 143
        assert program.left() == []


def test_nodes_end_by_themselves_when_the_demo_is_killed() -> None:
    with NoexNode("demo") as program:
        program.until("chunks of text")
        assert len(program.left()) >= 4
        program.send(signal.SIGKILL)
        assert program.end() == -signal.SIGKILL
        program.until_nothing_is_left()


def test_a_node_that_cannot_start_is_named_and_the_others_are_ended() -> None:
    prelude = "import noex.cli.demo_nodes as nodes\nnodes.BEHAVIORS = 'no_such_module'"
    with NoexNode("demo", prelude=prelude) as program:
        assert program.end() == 1
        assert program.left() == []
    assert re.search(r"the demo failed: \w+@127.0.0.1:\d+ did not start", program.errors)
    assert "--behaviors no_such_module: No module named" in program.errors
