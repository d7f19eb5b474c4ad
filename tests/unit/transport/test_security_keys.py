"""Keys: what a secret comes to, what is refused, and that no secret is ever shown."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import traceback
from pathlib import Path
from typing import Any

import pytest
import zmq
from zmq.utils import z85

from noex import (
    ClusterSecret,
    CurveMissingError,
    InsecureBindError,
    InvalidNodeIdError,
    InvalidOptionError,
    Node,
    NodeConfig,
    NodeKeys,
    WeakSecretError,
)
from noex.transport import keys as keys_module
from noex.transport.curve import credentials_of

SECRET = "correct horse battery staple"
A, B = "a@127.0.0.1:4001", "b@127.0.0.1:4002"
KEYS = {name: NodeKeys.generate() for name in (A, B)}
PUBLIC = {name: keys.public for name, keys in KEYS.items()}


# ---------------------------------------------------------------------- the secret


def test_a_secret_makes_one_pair_everywhere() -> None:
    """A fixed answer: nodes of another version, or machine, must come to the same key."""
    pair = ClusterSecret(SECRET).key_pair()
    assert pair == ClusterSecret(SECRET.encode()).key_pair()
    assert zmq.curve_public(pair.secret) == pair.public
    assert pair.public == b"<B#Sr/hYR)3wp:CRNy%z)n6QG?C&)sJ:XoZXNc%%"


def test_another_secret_makes_another_pair() -> None:
    assert ClusterSecret(SECRET).key_pair() != ClusterSecret(SECRET + " ").key_pair()
    assert ClusterSecret(SECRET) == ClusterSecret(SECRET) != ClusterSecret(SECRET + " ")


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("", "it has 0 bytes, at least 16"),
        ("short", "it has 5 bytes, at least 16"),
        ("fifteen-bytes-!", "it has 15 bytes, at least 16"),
        (b"fifteen-bytes-!", "it has 15 bytes, at least 16"),
        ("aaaaaaaaaaaaaaaaaaaaaaaa", "only 1 of its bytes are different"),
        ("1234512345123451234512345", "only 5 of its bytes are different"),
    ],
)
def test_a_secret_that_could_be_guessed_is_refused(secret: str | bytes, reason: str) -> None:
    with pytest.raises(WeakSecretError, match=reason) as caught:
        NodeConfig(A, cluster_secret=secret)
    assert caught.value.field == "cluster_secret"
    assert "noex-node keygen" in str(caught.value)
    text = secret if isinstance(secret, str) else secret.decode()
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize("secret", [7, ["x" * 20], object(), bytearray(b"x" * 20)])
def test_a_secret_is_text_or_bytes(secret: Any) -> None:
    with pytest.raises(InvalidOptionError, match="a str or bytes") as caught:
        NodeConfig(A, cluster_secret=secret)
    assert caught.value.value == "***"


def test_sixteen_bytes_are_enough() -> None:
    assert NodeConfig(A, cluster_secret="sixteen bytes ok").is_secure
    assert NodeConfig(A, cluster_secret="ünïcödé ist gut").is_secure  # counted in UTF-8


def test_a_libzmq_without_curve_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module.zmq, "has", lambda _feature: False)
    for make in (lambda: NodeConfig(A, cluster_secret=SECRET), NodeKeys.generate):
        with pytest.raises(CurveMissingError, match="built without CURVE"):
            make()
    assert not NodeConfig(A).is_secure  # who wants no encryption needs no CURVE


# ---------------------------------------------------------------------- nothing is shown


def shown(config: Any) -> str:
    """All that could show up somewhere."""
    return "".join((repr(config), str(config), f"{config}", str(vars(config)), str(dir(config))))


def test_a_config_shows_neither_secret_nor_key() -> None:
    secured = NodeConfig(A, cluster_secret=SECRET)
    assert SECRET not in shown(secured) + str(dataclasses.asdict(secured))
    keyed = NodeConfig(A, keys=KEYS[A])
    assert KEYS[A].secret not in shown(keyed) + str(dataclasses.asdict(keyed))
    assert KEYS[A].secret not in repr(KEYS[A].pair) and PUBLIC[A] in repr(KEYS[A])
    assert repr(secured.cluster_secret) == "ClusterSecret(***)"
    pair = secured.cluster_secret.key_pair()  # type: ignore[union-attr]
    assert pair.secret.decode() not in repr(pair)


def test_a_traceback_with_its_variables_shows_no_secret() -> None:
    """Tools for crash reports show the local variables of each frame: ours hold none."""
    options: dict[str, Any] = {"cluster_secret": SECRET, "seeds": ["no node id"]}
    with pytest.raises(InvalidNodeIdError) as caught:
        Node(A, **options)
    error = caught.value
    stack = traceback.TracebackException.from_exception(error, capture_locals=True).stack
    ours = [frame for frame in stack if Path(__file__).name not in frame.filename]
    assert len(ours) >= 3 and any("cluster_secret" in (frame.locals or {}) for frame in ours)
    assert [frame for frame in ours if SECRET in str(frame.locals)] == []


def test_the_value_of_a_misspelt_option_is_not_shown() -> None:
    with pytest.raises(InvalidOptionError, match="unknown; known are") as caught:
        Node(A, cluster_secert=SECRET)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("value", [ClusterSecret(SECRET), KEYS[A]])
def test_what_holds_a_secret_is_not_pickled(value: Any) -> None:
    with pytest.raises(TypeError, match="out of"):
        pickle.dumps(value)
    assert copy.deepcopy(value) is copy.copy(value) is value


# ---------------------------------------------------------------------- node keys


def test_a_fresh_key_is_a_pair() -> None:
    keys = NodeKeys.generate(peers=PUBLIC, clients={"ops": NodeKeys.generate().public})
    assert zmq.curve_public(keys.secret.encode()).decode() == keys.public
    assert NodeKeys.generate().public != keys.public
    again = NodeKeys(keys.secret, keys.peers, keys.clients)
    assert again == keys and hash(again) == hash(keys)
    assert keys.trusting({}) != keys and keys.trusting({}).clients == keys.clients


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("nonsense",), "keys.secret"),
        ((7,), "keys.secret"),
        (("~" * 40,), "keys.secret"),
        ((KEYS[A].secret, {B: "short"}), f"keys.peers['{B}']"),
        ((KEYS[A].secret, {B: 7}), f"keys.peers['{B}']"),
        ((KEYS[A].secret, {B: "#" * 40}), f"keys.peers['{B}']"),
        ((KEYS[A].secret, [B]), "keys.peers"),
        ((KEYS[A].secret, 7), "keys.peers"),
        ((KEYS[A].secret, {}, {"ops": "x"}), "keys.clients['ops']"),
        ((KEYS[A].secret, {A: PUBLIC[A], B: PUBLIC[A]}), "keys.peers"),
        ((KEYS[A].secret, {B: PUBLIC[B]}, {"ops": PUBLIC[B]}), "keys.peers"),
        ((KEYS[A].secret, {B: PUBLIC[B], "c@127.0.0.1:4002": PUBLIC[A]}), "keys.peers"),
    ],
)
def test_keys_that_cannot_work_are_refused(arguments: tuple[Any, ...], field: str) -> None:
    with pytest.raises(InvalidOptionError) as caught:
        NodeKeys(*arguments)
    assert caught.value.field == field
    assert KEYS[A].secret not in str(caught.value)


@pytest.mark.parametrize("node_id", ["b", "b@h:0", "b@h"])
def test_a_key_is_bound_to_a_whole_node_id(node_id: str) -> None:
    with pytest.raises(InvalidNodeIdError):
        NodeKeys(KEYS[A].secret, {node_id: PUBLIC[B]})


def test_an_address_is_one_however_it_is_written() -> None:
    keys = KEYS[A].trusting({"b@[0:0:0:0:0:0:0:1]:4002": PUBLIC[B]})
    assert keys.peers == {"b@[::1]:4002": PUBLIC[B]}
    own = KEYS[A].trusting({"a@[::0:1]:4001": PUBLIC[A], **keys.peers})
    config = NodeConfig("a@[0::1]:4001", keys=own, seeds=["b@[0:0::1]:4002"])
    assert credentials_of(str(config.address), None, own).admitted.keys() == {
        z85.decode(PUBLIC[A]),
        z85.decode(PUBLIC[B]),
    }


def test_keys_come_from_files(tmp_path: Path) -> None:
    key, peers = tmp_path / "a.key", tmp_path / "peers.toml"
    key.write_text(KEYS[A].secret + "\n")
    peers.write_text(f'[peers]\n"{A}" = "{PUBLIC[A]}"\n"{B}" = "{PUBLIC[B]}"\n')
    keys = NodeKeys.load(key, peers)
    assert keys == KEYS[A].trusting(PUBLIC)
    assert NodeKeys.load(key) == KEYS[A]


@pytest.mark.parametrize(
    ("key", "peers", "said"),
    [
        (None, None, "cannot read"),
        ("", None, "must hold one line"),
        ("two\nlines\n", None, "must hold one line"),
        ("ok", "no toml [", "it is no TOML"),
        ("ok", "[peer]\n", "unknown: peer; the tables are"),
        ("ok", '[peers]\n"b@h:1" = 7\n', "a public key of 40 characters"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, key: str | None, peers: str | None, said: str
) -> None:
    key_file, peers_file = tmp_path / "a.key", tmp_path / "peers.toml"
    if key is not None:
        key_file.write_text(KEYS[A].secret if key == "ok" else key)
    if peers is not None:
        peers_file.write_text(peers)
    with pytest.raises(InvalidOptionError) as caught:
        NodeKeys.load(key_file, peers_file if peers is not None else None)
    assert said in str(caught.value)
    assert KEYS[A].secret not in str(caught.value)


# ---------------------------------------------------------------------- on a node


def test_one_way_or_the_other() -> None:
    with pytest.raises(InvalidOptionError, match="one or the other") as caught:
        Node(A, cluster_secret=SECRET, keys=KEYS[A])
    assert caught.value.field == "keys"
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("keys", [7, "x", KEYS[A].secret, {}], ids=["number", "text", "key", "map"])
def test_keys_are_node_keys(keys: Any) -> None:
    with pytest.raises(InvalidOptionError, match="NodeKeys, or None") as caught:
        NodeConfig(A, keys=keys)
    assert caught.value.value == "***"


def test_without_a_cluster_there_is_nothing_to_secure() -> None:
    for options in ({"cluster_secret": SECRET}, {"keys": KEYS[A]}):
        with pytest.raises(InvalidOptionError, match="it needs a node id"):
            Node(**options)


def test_a_secured_node_may_listen_anywhere() -> None:
    with pytest.raises(InsecureBindError) as caught:
        NodeConfig("a@0.0.0.0:1")
    for cure in ("cluster_secret=", "keys=", "insecure=True"):
        assert cure in str(caught.value)
    for options in ({"cluster_secret": SECRET}, {"keys": KEYS[A]}, {"insecure": True}):
        assert NodeConfig("a@10.1.2.3:1", bind="0.0.0.0", **options).bind == "0.0.0.0"


def test_keys_need_to_fit_the_node_that_has_them() -> None:
    peers = KEYS[A].trusting(PUBLIC)
    assert NodeConfig(A, keys=peers, seeds=[A, B]).keys is peers
    with pytest.raises(InvalidNodeIdError, match="choose one"):
        NodeConfig("a@127.0.0.1:0", keys=peers)
    with pytest.raises(InvalidOptionError, match="is not the public key of this node"):
        NodeConfig(B, keys=peers)
    with pytest.raises(InvalidOptionError, match="it has the key of this node") as caught:
        NodeConfig("c@127.0.0.1:4003", keys=peers)
    assert caught.value.value == A
    with pytest.raises(InvalidOptionError, match=r"keys\.peers has no key for it") as caught:
        NodeConfig(A, keys=peers, seeds=["c@127.0.0.1:4003"])
    assert caught.value.field == "seeds"


def test_a_secret_goes_through_a_config_unchanged() -> None:
    config = NodeConfig(A, cluster_secret=SECRET)
    assert Node(config=config).config == config == NodeConfig(A, cluster_secret=SECRET)
    assert Node(B, config=config).config.cluster_secret is config.cluster_secret
    assert config != NodeConfig(A, cluster_secret=SECRET + "!")


def test_whom_credentials_admit() -> None:
    """Case 172 (`allowed`): a listener admits those of its list, a dialler knows whom it dials."""
    ops = NodeKeys.generate()
    keys = KEYS[A].trusting({B: PUBLIC[B]}, {"ops": ops.public})
    named = credentials_of(A, None, keys)
    raw = {name: z85.decode(key) for name, key in {**PUBLIC, "ops": ops.public}.items()}
    assert named.admitted == {raw[A]: A, raw[B]: B, raw["ops"]: "client:ops"}
    assert named.servers == {name: key.encode() for name, key in PUBLIC.items()}
    assert named.addresses == {"tcp://127.0.0.1:4001": A, "tcp://127.0.0.1:4002": B}
    secret = ClusterSecret(SECRET)
    shared = credentials_of(A, secret, None)
    assert shared.admitted == {z85.decode(secret.key_pair().public): "member"}
    assert not shared.is_named and named.is_named
    assert credentials_of(A, None, None).pair is None
