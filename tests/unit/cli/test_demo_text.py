"""The demo's work: a cut changes nothing that is summed over chunks, and close words are close."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from noex.cli import demo_text
from noex.cli.demo_text import (
    CLOSE,
    InputError,
    add,
    analyse,
    are_close,
    chunk_size,
    cut,
    merge,
    nothing,
    read_input,
)

texts = st.text(alphabet="abcxyzßé \n.,-12\t", max_size=300)
words = st.text(alphabet="abc", max_size=9)


@given(texts, st.integers(1, 50), st.integers(0, 20))
@example("onewordonly", 3, 5)
def test_joined_the_pieces_are_the_text_and_no_word_is_cut(
    text: str, size: int, least: int
) -> None:
    pieces = cut(text, size, least)
    assert "".join(pieces) == text
    assert len(pieces) >= least
    whole = re.findall(r"[^\W\d_]+", text)
    assert [word for piece in pieces for word in re.findall(r"[^\W\d_]+", piece)] == whole


@given(st.lists(words, max_size=80), st.integers(1, 60))
def test_a_piece_is_no_longer_than_its_size_and_one_word(words: list[str], size: int) -> None:
    longest = max(map(len, words), default=0)
    assert all(len(piece) < size + max(longest, 1) for piece in cut(" ".join(words), size))


@given(st.integers(0, 10**8), st.integers(24, 480))
def test_there_are_enough_pieces_of_a_bounded_size(length: int, least: int) -> None:
    size = chunk_size(length, least)
    assert 1 <= size <= demo_text.CHUNK_SIZE
    assert length // size >= min(least, length)


@given(texts, st.integers(1, 50))
def test_words_and_letters_do_not_depend_on_the_cut(text: str, size: int) -> None:
    whole, parts = merge([analyse(text)]), merge(map(analyse, cut(text, size)))
    assert parts["words"] == whole["words"] == Counter(re.findall(r"[^\W\d_]+", text.lower()))
    assert parts["letters"] == whole["letters"]


@given(st.lists(texts, max_size=6), st.randoms())
def test_chunks_may_be_added_in_any_order(chunks: list[str], random: object) -> None:
    results = list(map(analyse, chunks))
    expected = merge(results)
    random.shuffle(results)  # type: ignore[attr-defined]
    total = nothing()
    for result in results:
        add(total, result)
    assert total == expected


def test_every_pass_counts_what_it_says() -> None:
    result = analyse("The lantern, the lanterns: the hundred")
    assert result["words"] == {"the": 3, "lantern": 1, "lanterns": 1, "hundred": 1}
    assert result["pairs"] == {
        "the lantern": 1,
        "lantern the": 1,
        "the lanterns": 1,
        "lanterns the": 1,
        "the hundred": 1,
    }
    assert result["contexts"] == {"lantern": 1, "the": 2, "lanterns": 1}
    assert result["letters"]["h"] == 4
    assert result["look_alikes"] == {"lantern/lanterns": 1}


def levenshtein(one: str, other: str) -> int:
    """Straight from the definition."""
    if not one or not other:
        return len(one) + len(other)
    table = [
        [i + j if not i * j else 0 for j in range(len(other) + 1)] for i in range(len(one) + 1)
    ]
    for i, left in enumerate(one, 1):
        for j, right in enumerate(other, 1):
            swap = table[i - 1][j - 1] + (left != right)
            table[i][j] = min(swap, table[i - 1][j] + 1, table[i][j - 1] + 1)
    return table[-1][-1]


@given(words, words)
@example("aaaaaaaa", "aaaaaaaaaa")
@example("abcabcabc", "cabcabcab")
def test_words_are_close_up_to_two_edits(one: str, other: str) -> None:
    assert are_close(one, other) is (levenshtein(one, other) <= CLOSE)
    assert are_close(one, other) is are_close(other, one)


# ---------------------------------------------------------------------- input


def test_a_folder_is_read_in_the_order_of_its_names_without_what_is_no_text(
    tmp_path: Path,
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a.md").write_text("first")
    (tmp_path / "sub" / "README").write_bytes(b"third\xff")
    (tmp_path / "c.zip").write_text("not this")
    assert read_input(tmp_path) == "first\n\nsecond\n\nthird\N{REPLACEMENT CHARACTER}"


def test_without_a_path_it_is_the_language_reference() -> None:
    text = read_input(None)
    assert len(text) > 300_000
    assert "lambda" in text


def test_too_much_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.txt").open("wb") as file:
        file.truncate(demo_text.MAX_INPUT + 1)
    with pytest.raises(InputError, match=r"16,777,217 bytes, more than 16 MiB; choose a smaller"):
        read_input(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing", "cannot read .*missing: No such file or directory"),
        ("digits.txt", "there are no words in .*digits.txt; choose a text file"),
        ("empty", "there are no words in .*empty; choose"),
        ("pipe", "pipe is neither a file nor a folder"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "digits.txt").write_text("1, 2, 3")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=said):
        read_input(tmp_path / name)
