"""The demo's honest work: statistics over a text, cut into chunks that can be merged again.

Five passes over each chunk: words, pairs of neighbours, a concordance (in how many different
contexts a word stands), letters, and look-alikes (pairs of different longer words that are at
most two edits apart, compared each with each: the slow one). All results are sums over chunks,
so the order in which chunks are done, and by whom, does not matter.
"""

from __future__ import annotations

import itertools
import pydoc_data.topics
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

CHUNK_SIZE: Final = 6_000  # characters
SMALL_CHUNK: Final = 2_000  # the slow pass takes a time that grows with the chunk
LARGE_TEXT: Final = 1_000_000  # from here on, smaller chunks keep the work in bounds
MAX_INPUT: Final = 16 * 1024 * 1024  # bytes
CLOSE: Final = 2  # edits between look-alikes
LONG: Final = range(7, 31)  # letters: of shorter words nearly all are close, longer ones are none
SUFFIXES: Final = {".txt", ".md", ".rst", ".py", ".html", ".csv", ".json", ".log", ""}
PASSES: Final = ("words", "pairs", "contexts", "letters", "look_alikes")

_word = re.compile(r"[^\W\d_]+")
Result = dict[str, dict[str, int]]


class InputError(Exception):
    """The input cannot be read, or holds no words."""


# ---------------------------------------------------------------------- reading


def python_reference() -> str:
    """The Python language reference that ships inside every CPython: some 450 kB of English."""
    return "\n\n".join(text for _, text in sorted(pydoc_data.topics.topics.items()))


def read_input(path: Path | None) -> str:
    """The text to work on: the language reference, a file, or all text files below a folder."""
    if path is None:
        return python_reference()
    try:
        files = _files(path)
        size = sum(file.stat().st_size for file in files)
        if size > MAX_INPUT:
            limit = f"{MAX_INPUT // 1024**2} MiB"
            raise InputError(f"{path} has {size:,} bytes, more than {limit}; choose a smaller one")
        text = "\n\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)
    except OSError as error:
        raise InputError(f"cannot read {error.filename or path}: {error.strerror}") from error
    if not _word.search(text):
        raise InputError(f"there are no words in {path}; choose a text file, or a folder of them")
    return text


def _files(path: Path) -> list[Path]:
    path.stat()  # raises what `exists` would swallow
    if path.is_dir():
        list(path.iterdir())  # as above: a folder that may not be read is no empty one
        below = path.rglob("*")
        return sorted(p for p in below if p.suffix.lower() in SUFFIXES and p.is_file())
    if not path.is_file():
        raise InputError(f"{path} is neither a file nor a folder")
    return [path]


# ---------------------------------------------------------------------- cutting


def chunk_size(length: int, least: int) -> int:
    """Characters per chunk, so that a text of this length makes some `least` chunks or more."""
    usual = CHUNK_SIZE if length < LARGE_TEXT else SMALL_CHUNK
    return max(1, min(usual, length // least))


def cut(text: str, size: int = CHUNK_SIZE, least: int = 0) -> list[str]:
    """The text in pieces of about `size` characters, cut between words; joined, they are the text.

    A text of very few words gets empty pieces, so that there are `least` of them.
    """
    chunks, start = [], 0
    while start < len(text):
        end = _cut_after(text, start + size)
        chunks.append(text[start:end])
        start = end
    return chunks + [""] * (least - len(chunks))


def _cut_after(text: str, position: int) -> int:
    """The next place at or after `position` that is not inside a word."""
    if position >= len(text):
        return len(text)
    if not _word.match(text, position - 1, position):
        return position
    match = _word.match(text, position)
    return match.end() if match else position


# ---------------------------------------------------------------------- counting


def analyse(chunk: str) -> Result:
    """All passes over one chunk."""
    result: Result = {}
    for part in passes(chunk):
        for name, counts in part.items():
            result.setdefault(name, {}).update(counts)
    return result


def passes(chunk: str) -> Iterator[Result]:
    """The same in small steps, so that a process can give way to others between them."""
    words = _word.findall(chunk.lower())
    yield {"words": dict(Counter(words))}
    yield {"pairs": dict(Counter(" ".join(pair) for pair in itertools.pairwise(words)))}
    yield {"contexts": _contexts(words), "letters": dict(Counter("".join(words)))}
    different = sorted({word for word in words if len(word) in LONG})
    yield {"look_alikes": {}}
    for number, word in enumerate(different):
        yield {"look_alikes": _look_alikes(word, different[number + 1 :])}


def _contexts(words: list[str]) -> dict[str, int]:
    seen: dict[str, set[tuple[str, str]]] = {}
    for before, word, after in zip(words, words[1:], words[2:], strict=False):
        seen.setdefault(word, set()).add((before, after))
    return {word: len(contexts) for word, contexts in seen.items()}


def _look_alikes(word: str, others: list[str]) -> dict[str, int]:
    return {f"{word}/{other}": 1 for other in others if are_close(word, other)}


def are_close(one: str, other: str) -> bool:
    """Whether at most `CLOSE` letters changed, added or removed make `one` into `other`.

    Levenshtein's distance, row by row, given up as soon as no entry of a row is small enough.
    """
    if abs(len(one) - len(other)) > CLOSE:
        return False
    row = list(range(len(other) + 1))
    for number, letter in enumerate(one, 1):
        left = number
        following = [left]
        for above_left, above, there in zip(row, row[1:], other, strict=False):
            left = min(above_left + (letter != there), above + 1, left + 1)
            following.append(left)
        row = following
        if min(row) > CLOSE:
            return False
    return row[-1] <= CLOSE


# ---------------------------------------------------------------------- merging

Total = dict[str, Counter[str]]


def nothing() -> Total:
    """The total of no chunk at all."""
    return {name: Counter() for name in PASSES}


def add(total: Total, result: Mapping[str, Any]) -> None:
    """Add the result of one chunk to the total."""
    for name in PASSES:
        total[name].update(result[name])


def merge(results: Iterable[Mapping[str, Any]]) -> Total:
    """The sums over all chunks."""
    total = nothing()
    for result in results:
        add(total, result)
    return total
