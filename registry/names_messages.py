"""What the name processes of two nodes say to each other, and what the machine asks of its shell.

Messages of one node to another arrive in order and once. Each is a small value; a ref in it is
handed on untouched.
"""

from __future__ import annotations

from typing import Any, NamedTuple

Uid = tuple[str, int]
"""A life of a node: (node id, incarnation)."""

Stamp = tuple[int, int]
"""(epoch of the view in which it was granted, number): the later grant has the higher one."""

Row = tuple[str, Any, Stamp]
"""(name, ref, stamp)"""


class Entry(NamedTuple):
    """Who has a name, and since which grant."""

    ref: Any
    stamp: Stamp


# ---------------------------------------------------------------------- to the oldest member


class Claim(NamedTuple):
    """The sender's process `ref` wants `name`."""

    ident: int
    name: str
    ref: Any


class Withdraw(NamedTuple):
    """The claim (granted or not) or the question is given up."""

    ident: int
    name: str


class Checked(NamedTuple):
    """The answer to `Check`: who has the name now (None: nobody here)."""

    name: str
    number: int
    owner: Any


class Where(NamedTuple):
    """Who has `name`?"""

    ident: int
    name: str


# ---------------------------------------------------------------------- from the oldest member


class Grant(NamedTuple):
    """The claim is granted."""

    ident: int
    name: str
    stamp: Stamp


class Deny(NamedTuple):
    """Somebody else has the name."""

    ident: int
    name: str
    owner: Any


class Check(NamedTuple):
    """Somebody wants `name`, which is yours: is it still?"""

    name: str
    number: int


class Found(NamedTuple):
    """The answer to `Where`."""

    ident: int
    ref: Any


class Noted(NamedTuple):
    """The answer to `Removed` with an `ident`: the name is free at the oldest member too."""

    ident: int


class Lost(NamedTuple):
    """Two nodes have this name, and the other one has it by the older grant."""

    name: str
    owner: Any


# ---------------------------------------------------------------------- from each to all


class Snapshot(NamedTuple):
    """All names of the sender; what it lacks is gone.

    `claims`: the sender's open claims, when the receiver is its oldest member; else None.
    """

    rows: tuple[Row, ...]
    claims: tuple[Claim, ...] | None = None


class Added(NamedTuple):
    """The sender has one name more."""

    name: str
    ref: Any
    stamp: Stamp


class Removed(NamedTuple):
    """The sender has one name less. `ident`: whom to tell once it is noted (0: nobody)."""

    name: str
    ident: int = 0


class Resync(NamedTuple):
    """Messages to you were dropped, because you read too slowly: say all again, as I do."""


Message = (
    Claim
    | Withdraw
    | Checked
    | Where
    | Grant
    | Deny
    | Check
    | Found
    | Noted
    | Lost
    | Snapshot
    | Added
    | Removed
    | Resync
)


# ---------------------------------------------------------------------- effects


class Send(NamedTuple):
    """Send it to that node's name process."""

    to: Uid
    message: Message


class Answer(NamedTuple):
    """The request `ident` has its result."""

    ident: int
    value: Any


class Refuse(NamedTuple):
    """The request `ident` has failed."""

    ident: int
    error: Exception


class Watch(NamedTuple):
    """Report `process_down` when this process of ours ends."""

    ref: Any


class Unwatch(NamedTuple):
    """It has no name any more."""

    ref: Any


class Dispossess(NamedTuple):
    """Tell our process that it has lost `name` to `winner`."""

    ref: Any
    name: str
    winner: Any


Effect = Send | Answer | Refuse | Watch | Unwatch | Dispossess
