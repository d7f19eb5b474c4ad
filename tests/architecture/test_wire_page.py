"""`docs/wire.md` says what the code does: every number in its tables is the code's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from types import ModuleType
from typing import Any

import pytest
from house import ROOT

from noex.transport import codec_apart, codec_tags, ops, wire, wire_bulk
from noex.transport.codec_limits import CodecLimits
from noex.transport.codec_tags import Tag
from noex.transport.lane_settings import LaneSettings

PAGE = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8")


def tables() -> Iterator[list[list[str]]]:
    """Every table: its rows, the heads first."""
    for block in re.findall(r"(?:^\|.*\n)+", PAGE, re.M):
        rows = [
            [cell.strip() for cell in line.strip("|\n").split("|")] for line in block.splitlines()
        ]
        yield [row for row in rows if not set("".join(row)) <= {"-"}]


def table(*heads: str) -> list[list[str]]:
    """The one table whose first columns have these heads."""
    (found,) = [rows for rows in tables() if tuple(rows[0][: len(heads)]) == heads]
    return found[1:]


def numbered(*heads: str) -> dict[str, int]:
    """Name to number, of a table whose first two columns are these."""
    return {row[1]: int(row[0]) for row in table(*heads)}


def constants(module: Any, wanted: Callable[[str, Any], bool]) -> dict[str, int]:
    return {
        name: value
        for name, value in vars(module).items()
        if name.isupper() and name[0] != "_" and type(value) is int and wanted(name, value)
    }


NO_KINDS = {"OLDEST", "VERSION", "HEADER_SIZE", "MAX_ANSWER", "BUFFERS", "PIECES", "FEATURES"}
NO_OPS = {"MAX_TIMEOUT_MS", "NAMED", "HEAD_SIZE", "OVERHEAD"}


def test_the_kinds_of_frames_are_those_of_the_code() -> None:
    assert numbered("kind", "name") == constants(wire, lambda name, _: name not in NO_KINDS)


def test_what_came_with_version_2_is_marked_so() -> None:
    since = {row[1]: int(row[3]) for row in table("kind", "name")}
    assert {name for name, version in since.items() if version == 1} == {
        "HELLO", "OPEN", "REFUSED", "BATCH", "ACK",
    }  # fmt: skip
    assert set(since.values()) == {wire.OLDEST, wire.VERSION}
    assert f"current version is {wire.VERSION}, the oldest that is spoken is {wire.OLDEST}" in PAGE


def test_the_header_is_that_of_the_code() -> None:
    sizes = {"u8": "B", "u32": "I", "u64": "Q"}
    layout = "<" + "".join(sizes[row[1]] for row in table("field", "type", "what"))
    assert layout == wire.HEADER.format
    assert f"a header of {wire.HEADER_SIZE} bytes" in PAGE


def test_the_codes_of_refusals_are_those_of_the_code() -> None:
    assert numbered("code", "refusal") == {code.name: code.value for code in wire.Refusal}


def test_the_features_are_those_of_the_code() -> None:
    bits = numbered("bit", "feature")
    assert bits == {"BUFFERS": wire.BUFFERS, "PIECES": wire.PIECES}
    assert sum(bits.values()) == wire.FEATURES


def test_the_operations_are_those_of_the_code() -> None:
    assert numbered("kind", "operation") == constants(ops, lambda name, _: name not in NO_OPS)
    assert "a header of 21 bytes" in PAGE
    assert len(ops.pack_op(ops.CALL)) == 21


def test_the_forms_and_tags_of_values_are_those_of_the_code() -> None:
    forms = {
        row[1]: bytes.fromhex(row[0]) for row in table("first bytes", "form") if "(" not in row[0]
    }
    assert forms == {
        "lists": codec_tags.LISTS,
        "tuple of lists": codec_tags.TUPLE_OF_LISTS,
        "tagged": codec_tags.TAGGED,
    }
    assert numbered("tag", "type") == constants(Tag, lambda *_: True)


def test_the_placeholders_are_those_of_the_code() -> None:
    expected = constants(codec_apart, lambda name, _: name in {"BYTES", "BYTEARRAY", "VIEW"})
    assert numbered("extension", "type") == expected


def test_the_limits_are_those_of_the_code() -> None:
    defaults = {
        field.name: field.default for cls in (LaneSettings, CodecLimits) for field in fields(cls)
    }
    for name, value, _ in table("setting", "default"):
        assert defaults[name] == int(value), name


@pytest.mark.parametrize("row", table("constant", "value"), ids=lambda row: row[0])
def test_the_constants_are_those_of_the_code(row: list[str]) -> None:
    homes: list[ModuleType] = [codec_apart, wire_bulk, wire]
    (value,) = {vars(home)[row[0]] for home in homes if row[0] in vars(home)}
    assert value == int(row[1])


def test_what_the_text_says_of_times_and_sizes_is_so() -> None:
    settings = LaneSettings()
    assert (settings.hello_limit, settings.hello_timeout) == (256, 30.0)
    assert "(256 of them, 30 s each)" in PAGE
    assert (settings.ack_batches, settings.ack_bytes, settings.ack_delay) == (64, 1 << 18, 0.02)
    assert "after 64 frames, 256 KiB, or 20 ms" in PAGE
    assert f"of {codec_apart.APART_FROM} bytes or more" in PAGE
    assert f"has {wire_bulk.LEAST_PIECE} bytes or more" in PAGE


def test_a_missing_table_is_noticed() -> None:
    with pytest.raises(ValueError, match="not enough"):
        table("no", "such")
