"""Incarnations: one number per life of a node, larger for each later life."""

from __future__ import annotations

RANDOM_BITS = 20


def make_incarnation(unix_ms: int, random_bits: int, above: int = 0) -> int:
    """``unix_ms << 20 | 20 random bits``, and larger than `above`.

    Two lives that start in the same millisecond differ by the random bits; a node whose clock was
    set back passes the highest incarnation that a peer has told it as `above`.
    """
    fresh = (unix_ms << RANDOM_BITS) | (random_bits & ((1 << RANDOM_BITS) - 1))
    return fresh if fresh > above else above + 1
