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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

CHUNK_SIZE: Final = 8_000  # characters
CLOSE: Final = 2  # edits between look-alikes
LONG: Final = 7  # letters: of shorter words, nearly all are close
MAX_INPUT: Final = 64 * 1024 * 1024
SUFFIXES: Final = {".txt", ".md", ".rst", ".py", ".html", ".csv", ".json", ".log", ""}
PASSES: Final = ("words", "pairs", "contexts", "letters", "look_alikes")

_word = re.compile(r"[^\W\d_]+")
Result = dict[str, Any]


class InputError(Exception):
    """The input cannot be read, or holds no words."""


def python_reference() -> str:
    """The Python language reference that ships inside every CPython: some 450 kB of English."""
    return "\n\n".join(text for _, text in sorted(pydoc_data.topics.topics.items()))


def read_input(path: Path | None) -> str:
    """The text to work on: the language reference, a file, or all text files below a folder."""
    if path is None:
        return python_reference()
    if not path.exists():
        raise InputError(f"there is no file or folder {path}")
    files = [path] if path.is_file() else sorted(_text_files(path))
    text = "\n\n".join(_read(file) for file in files)
    if not _word.search(text):
        raise InputError(f"there are no words in {path}")
    if len(text) > MAX_INPUT:
        raise InputError(f"{path} has more than {MAX_INPUT} characters; choose a smaller input")
    return text


def _text_files(folder: Path) -> Iterator[Path]:
    return (p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() in SUFFIXES)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"cannot read {file}: {error}") from error


def cut(text: str, size: int = CHUNK_SIZE) -> list[str]:
    """The text in pieces of about `size` characters, cut between words."""
    chunks, start = [], 0
    while start < len(text):
        end = min(start + size, len(text))
        while end < len(text) and not text[end].isspace():
            end += 1
        chunks.append(text[start:end])
        start = end
    return chunks


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
    different = sorted({word for word in words if len(word) >= LONG})
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


def merge(results: Iterable[Result]) -> dict[str, Counter[str]]:
    """The sums over all chunks."""
    total: dict[str, Counter[str]] = {name: Counter() for name in PASSES}
    for result in results:
        for name in PASSES:
            total[name].update(result[name])
    return total
