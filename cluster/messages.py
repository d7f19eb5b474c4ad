"""Control messages as values, and as bytes (msgpack, checked on arrival).

Each message travels in an `Envelope`, which says of which cluster and life the sender is and which
view it holds: (lineage, epoch, digest). So whoever hears anything at all from a peer knows whether
that peer is behind.

Bytes: ``[version, cluster, node id, incarnation, lineage | nil, epoch, digest, kind, body]``.
Whatever does not have exactly the expected shape raises `BadControlMessageError`; nothing is
guessed, and no text or list may be longer than its limit.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import msgpack

from noex.cluster.view import STATUSES, Gone, Lineage, Member, Status, Uid, View
from noex.runtime.errors import InvalidNodeIdError, NoexError
from noex.runtime.node_id import parse_node_id

VERSION: Final = 1
MAX_TEXT: Final = 1024
MAX_ITEMS: Final = 10_000
MAX_BYTES: Final = 4 * 1024 * 1024
U64: Final = 1 << 64
HIGHEST: Final = U64 - (1 << 32)
"""Of the numbers that only grow (incarnations, epochs): whoever has to pass one still can."""

Phase = Literal["joining", "member", "over"]


class BadControlMessageError(NoexError):
    """Bytes that are no control message of this version."""

    fields = ("reason",)

    def describe(self) -> str:
        return f"not a control message: {self.args[0]}"


class Known(NamedTuple):
    """A joiner that somebody knows of."""

    node_id: str
    incarnation: int
    endpoint: str


@dataclass(frozen=True, slots=True)
class Hello:
    """Who are you, and what do you know? Sent to seeds, to joiners and on every new link."""

    phase: Phase
    me: Member
    joiners: tuple[Known, ...] = ()


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer to `Hello`; `view` if the sender is a member and the asker's view is another."""

    phase: Phase
    me: Member
    joiners: tuple[Known, ...] = ()
    view: View | None = None


@dataclass(frozen=True, slots=True)
class Join:
    """Let `member` in. `relayed`: a member passes it on to its leader."""

    member: Member
    relayed: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The life `uid` is not let in. `highest` is the highest incarnation known of its node id."""

    uid: Uid
    reason: str
    highest: int = 0


@dataclass(frozen=True, slots=True)
class Alert:
    """The sender believes that `subject` is down; `hard`: it has seen proof on the same host."""

    subject: Uid
    reason: str
    hard: bool


@dataclass(frozen=True, slots=True)
class Leave:
    """The sender wants this status (``leaving``: out of the view)."""

    status: Status


@dataclass(frozen=True, slots=True)
class News:
    """A decided view (VIEW), for whoever is behind."""

    view: View


@dataclass(frozen=True, slots=True)
class Ack:
    """Nothing but the envelope: this is the view that I hold."""


@dataclass(frozen=True, slots=True)
class Admin:
    """A request to the node from outside or above; `args` is opaque here."""

    request_id: int
    command: str
    args: bytes = b""


@dataclass(frozen=True, slots=True)
class AdminReply:
    """The answer to the `Admin` of the same `request_id`."""

    request_id: int
    ok: bool
    value: bytes = b""


Body = Hello | Welcome | Join | Refused | Alert | Leave | News | Ack | Admin | AdminReply


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message and what every message says about its sender."""

    cluster: str
    sender: Uid
    lineage: Lineage | None
    epoch: int
    digest: int
    body: Body


# -- out ----------------------------------------------------------------------------------------


def encode(message: Envelope) -> bytes:
    """The bytes of a message."""
    kind, pack = _PACK[type(message.body)]
    head = [VERSION, message.cluster, *message.sender, message.lineage, message.epoch]
    data: bytes = msgpack.packb([*head, message.digest, kind, pack(message.body)])
    return data


def _pack_view(view: View | None) -> Any:
    if view is None:
        return None
    gone = [[node_id, *entry] for node_id, entry in view.gone.items()]
    return [view.lineage, view.epoch, view.members, gone, view.peak, view.forced]


def _pack_hello(body: Hello) -> Any:
    return [body.phase, body.me, body.joiners]


def _pack_welcome(body: Welcome) -> Any:
    return [body.phase, body.me, body.joiners, _pack_view(body.view)]


_PACK: dict[type, tuple[str, Callable[[Any], Any]]] = {
    Hello: ("hello", _pack_hello),
    Welcome: ("welcome", _pack_welcome),
    Join: ("join", lambda b: [b.member, b.relayed]),
    Refused: ("refused", lambda b: [b.uid, b.reason, b.highest]),
    Alert: ("alert", lambda b: [b.subject, b.reason, b.hard]),
    Leave: ("leave", lambda b: [b.status]),
    News: ("view", lambda b: [_pack_view(b.view)]),
    Ack: ("ack", lambda b: []),
    Admin: ("admin", lambda b: [b.request_id, b.command, b.args]),
    AdminReply: ("admin_reply", lambda b: [b.request_id, b.ok, b.value]),
}


# -- in -----------------------------------------------------------------------------------------


def decode(data: bytes) -> Envelope:
    """The message in `data`. Raises `BadControlMessageError` for anything else."""
    try:
        fields = msgpack.unpackb(
            data,
            max_str_len=MAX_TEXT,
            max_bin_len=MAX_BYTES,
            max_array_len=MAX_ITEMS,
            max_map_len=0,
            max_ext_len=0,
        )
    except Exception as error:
        raise BadControlMessageError(f"no msgpack ({type(error).__name__})") from None
    return _envelope(fields)


def _envelope(fields: object) -> Envelope:
    parts = _list(fields, "message")
    if not parts or parts[0] != VERSION:
        # In brief: the repr of a stranger's value may be endless, or too deep to be made.
        said = reprlib.repr(parts[0] if parts else None)
        raise BadControlMessageError(f"version {said}, not {VERSION}")
    _, cluster, node_id, incarnation, lineage, epoch, digest, kind, body = _exactly(
        parts, 9, "message"
    )
    unpack = _UNPACK.get(kind) if isinstance(kind, str) else None
    if unpack is None:
        raise BadControlMessageError(f"unknown kind {reprlib.repr(kind)}")
    return Envelope(
        _text(cluster, "cluster"),
        (_text(node_id, "node id"), _growing(incarnation, "incarnation")),
        None if lineage is None else _lineage(lineage),
        _growing(epoch, "epoch"),
        _number(digest, "digest"),
        unpack(_list(body, kind)),
    )


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadControlMessageError(f"{what} is no list")
    return value


def _exactly(value: object, count: int, what: str) -> list[Any]:
    items = _list(value, what)
    if len(items) != count:
        raise BadControlMessageError(f"{what} has {len(items)} fields, not {count}")
    return items


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise BadControlMessageError(f"{what} is no text")
    return value


def _number(value: object, what: str) -> int:
    if type(value) is not int or not 0 <= value < U64:
        raise BadControlMessageError(f"{what} is no number")
    return value


def _growing(value: object, what: str) -> int:
    number = _number(value, what)
    if number > HIGHEST:
        raise BadControlMessageError(f"an {what} above which there is none")
    return number


def _flag(value: object, what: str) -> bool:
    if type(value) is not bool:
        raise BadControlMessageError(f"{what} is no flag")
    return value


def _bytes(value: object, what: str) -> bytes:
    if not isinstance(value, bytes):
        raise BadControlMessageError(f"{what} is no bytes")
    return value


def _status(value: object) -> Status:
    for status in STATUSES:
        if value == status:
            return status
    raise BadControlMessageError("unknown status")


def _phase(value: object) -> Phase:
    if value == "joining":
        return "joining"
    if value == "member":
        return "member"
    if value == "over":
        return "over"
    raise BadControlMessageError("unknown phase")


def _uid(value: object) -> Uid:
    node_id, incarnation = _exactly(value, 2, "uid")
    return (_text(node_id, "node id"), _growing(incarnation, "incarnation"))


def _lineage(value: object) -> Lineage:
    node_id, incarnation, epoch = _exactly(value, 3, "lineage")
    return Lineage(
        _text(node_id, "node id"), _growing(incarnation, "incarnation"), _number(epoch, "epoch")
    )


def _member(value: object) -> Member:
    node_id, incarnation, status, control, user, pub, behaviors, labels, born = _exactly(
        value, 9, "member"
    )
    return Member(
        _text(node_id, "node id"),
        _growing(incarnation, "incarnation"),
        _status(status),
        _text(control, "endpoint"),
        _text(user, "endpoint"),
        _text(pub, "endpoint"),
        tuple(_text(each, "behavior") for each in _list(behaviors, "behaviors")),
        tuple(_label(each) for each in _list(labels, "labels")),
        _number(born, "age"),
    )


def _label(value: object) -> tuple[str, str]:
    key, text = _exactly(value, 2, "label")
    return (_text(key, "label"), _text(text, "label"))


def _known(value: object) -> tuple[Known, ...]:
    return tuple(
        Known(_text(n, "node id"), _growing(i, "incarnation"), _text(e, "endpoint"))
        for n, i, e in (_exactly(each, 3, "joiner") for each in _list(value, "joiners"))
    )


def _view(value: object) -> View:
    lineage, epoch, members, gone, peak, forced = _exactly(value, 6, "view")
    view = View(
        _lineage(lineage),
        _growing(epoch, "epoch"),
        tuple(_member(each) for each in _list(members, "members")),
        dict(_gone(each) for each in _list(gone, "gone")),
        _number(peak, "peak"),
        _number(forced, "forced"),
    )
    _check_view(view)
    return view


def _check_view(view: View) -> None:
    ages = [m.age_key for m in view.members]
    if not ages or ages != sorted(ages) or len({m.node_id for m in view.members}) != len(ages):
        raise BadControlMessageError("a view without members, or out of order")
    if any(view.removed(m.uid) for m in view.members):
        raise BadControlMessageError("a view with a member that is gone")


def _gone(value: object) -> tuple[str, Gone]:
    node_id, incarnation, reason = _exactly(value, 3, "gone")
    return _text(node_id, "node id"), Gone(
        _growing(incarnation, "incarnation"), _text(reason, "reason")
    )


def _unpack_hello(body: list[Any]) -> Hello:
    phase, me, joiners = _exactly(body, 3, "hello")
    return Hello(_phase(phase), _member(me), _known(joiners))


def _unpack_welcome(body: list[Any]) -> Welcome:
    phase, me, joiners, view = _exactly(body, 4, "welcome")
    return Welcome(
        _phase(phase), _member(me), _known(joiners), None if view is None else _view(view)
    )


def _unpack_join(body: list[Any]) -> Join:
    member, relayed = _exactly(body, 2, "join")
    return Join(_at_home(_member(member)), _flag(relayed, "relayed"))


def _at_home(member: Member) -> Member:
    """A joiner is dialled back, and let in if it answers: at the address in its name, or whoever
    listens anywhere at all could take the place of any node."""
    try:
        home = parse_node_id(member.node_id).endpoint
    except InvalidNodeIdError:
        raise BadControlMessageError("a joiner whose node id is none") from None
    if member.control_endpoint != home:
        raise BadControlMessageError("a joiner that is not where its node id says")
    return member


def _unpack_refused(body: list[Any]) -> Refused:
    uid, reason, highest = _exactly(body, 3, "refused")
    return Refused(_uid(uid), _text(reason, "reason"), _growing(highest, "incarnation"))


def _unpack_alert(body: list[Any]) -> Alert:
    subject, reason, hard = _exactly(body, 3, "alert")
    return Alert(_uid(subject), _text(reason, "reason"), _flag(hard, "hard"))


def _unpack_leave(body: list[Any]) -> Leave:
    (status,) = _exactly(body, 1, "leave")
    return Leave(_status(status))


def _unpack_news(body: list[Any]) -> News:
    (view,) = _exactly(body, 1, "view")
    return News(_view(view))


def _unpack_ack(body: list[Any]) -> Ack:
    _exactly(body, 0, "ack")
    return Ack()


def _unpack_admin(body: list[Any]) -> Admin:
    request_id, command, args = _exactly(body, 3, "admin")
    return Admin(_number(request_id, "request"), _text(command, "command"), _bytes(args, "args"))


def _unpack_admin_reply(body: list[Any]) -> AdminReply:
    request_id, ok, value = _exactly(body, 3, "reply")
    return AdminReply(_number(request_id, "request"), _flag(ok, "ok"), _bytes(value, "value"))


_UNPACK: dict[str, Callable[[list[Any]], Body]] = {
    "hello": _unpack_hello,
    "welcome": _unpack_welcome,
    "join": _unpack_join,
    "refused": _unpack_refused,
    "alert": _unpack_alert,
    "leave": _unpack_leave,
    "view": _unpack_news,
    "ack": _unpack_ack,
    "admin": _unpack_admin,
    "admin_reply": _unpack_admin_reply,
}
