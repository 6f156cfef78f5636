"""Whole logs of the vectors through the real ledger: what each leaf says, what is refused."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from functools import cache

import pytest
from nacl.signing import SigningKey

from client.crypto.cells import open_block
from client.crypto.identity import Identity
from client.crypto.secrets import Seed
from client.crypto.wraps import OpenedKey, open_keys
from protocol import acts
from protocol.api import LogPage
from protocol.blocks import Address
from protocol.checkpoint import parse_note
from protocol.errors import ApiMisuse, SealroomError
from protocol.labels import Label, digest
from protocol.ledger import CheckedSides, Gone, Landed, Ledger, State, check_sides
from protocol.ledger.log import ACT_LEAF
from protocol.ledger.sides import SentPart
from protocol.merkle import leaf_hash
from protocol.observations import ObservationBody
from protocol.rewrap import Wrap
from protocol.wire import Envelope, from_bytes, to_bytes
from tests.fixed_draws import Json
from tests.story import summary
from tests.test_spec_vectors import load, raw, values

SERVER_KEY = bytes(SigningKey(raw(load("ledger")["server_seed"])).verify_key)


class Replay:
    """A client of the vectors' vault: it has the seeds, and nothing else to go by."""

    def __init__(self, name: str = "ledger") -> None:
        self.name = name
        self.found = load(name)
        self.ledger = Ledger()
        self.wraps: dict[tuple[Address, bytes], Wrap] = {}
        seeds = [Identity(Seed(raw(seed))) for seed in self.found["seeds"].values()]
        self.people = {each.member_id: each for each in seeds}
        self.opened: dict[tuple[bytes, Address], OpenedKey] = {}
        self.gone: set[Address] = set()

    def check(self, case: Json) -> tuple[Landed, CheckedSides | None]:
        return self.check_leaf(raw(case["leaf"]), tuple(map(raw, case["sides"])))

    def check_leaf(
        self, leaf: bytes, sides: Sequence[SentPart]
    ) -> tuple[Landed, CheckedSides | None]:
        landed = self.ledger.check(leaf)
        if landed.act is None or landed.before is None:
            assert not sides
            return landed, None
        given = (landed.before, landed.after, landed.act, sides, self.wraps, self.gone)
        return landed, check_sides(*given)

    def take(self, case: Json) -> State:
        return self.keep(*self.check(case))

    def keep(self, landed: Landed, checked: CheckedSides | None) -> State:
        self.ledger.append(landed)
        if checked is not None:
            self.gone |= checked.gone
            self.wraps |= checked.wraps
            for party in checked.boxes.keys() & self.people.keys():
                keys = open_keys(self.people[party], landed.after, checked)
                self.opened |= {(party, address): key for address, key in keys.items()}
        return self.ledger.state

    def until(self, size: int) -> Replay:
        for case in self.found["steps"][self.ledger.size : size]:
            self.take(case)
        return self


LEDGERS = ("ledger", "ledger_invites")


def replayed(name: str) -> Replay:
    return Replay(name).until(len(load(name)["steps"]))


@pytest.fixture(scope="module", params=LEDGERS)
def whole(request: pytest.FixtureRequest) -> Replay:
    return replayed(request.param)


@pytest.mark.parametrize("name", LEDGERS)
def test_the_log_says_the_same_after_each_leaf(name: str) -> None:
    replay = Replay(name)
    for case in replay.found["steps"]:
        assert replay.ledger.size == case["index"]
        assert summary(replay.take(case)) == case["state"], case["name"]
        assert replay.ledger.tree.root().hex() == case["root"]
    assert replay.ledger.state.vault_id.hex() == replay.found["vault_id"]


def test_every_key_that_was_given_opens(whole: Replay) -> None:
    listed = {
        (raw(each["party"]), each["address"]): (each["share"], each["field_key"])
        for each in whole.found["opened"]
        if raw(each["party"]) in whole.people
    }
    opened = {
        (party, address.encode().hex()): (key.share.expose().hex(), key.key.expose().hex())
        for (party, address), key in whole.opened.items()
    }
    assert listed.items() <= opened.items()
    assert len(listed) > 20


def test_every_block_opens_for_whoever_holds_it(whole: Replay) -> None:
    """While it is current, which is between two leaves; and it was the one block in its place."""
    replay, listed = Replay(whole.name), whole.found["blocks"]
    for case in replay.found["steps"]:
        replay.take(case)
        for each in listed:
            if case["index"] in (each["since"], (each["until"] or len(replay.found["steps"])) - 1):
                assert_opens(whole, replay.ledger.state, each)
    assert len({each["sha256"] for each in listed}) > 5


def assert_opens(whole: Replay, state: State, each: Json) -> None:
    where = state.collections[raw(each["collection"])]
    batch = where.by_id()[raw(each["batch"])]
    ref = batch.manifest.ref(each["field"])
    assert (ref.epoch, ref.sha256.hex()) == (each["epoch"], each["sha256"])
    address = Address(where.id, ref.field, ref.epoch)
    key = next(key for (_, a), key in whole.opened.items() if a == address)
    assert sorted(batch.erased) == each["erased"]
    found = open_block(
        key.key.expose(), where.class_of(ref.field), ref, batch.id, batch.manifest.records,
        raw(each["block"]), True, batch.erased,
    )  # fmt: skip
    assert values(found.cells) == each["values"]


def test_what_an_erasure_leaves_is_as_the_specification_says() -> None:
    """Lengths and cells taken apart and put together by hand."""
    listed = load("ledger")["erasures"]
    for each in listed:
        records, before, after = each["records"], raw(each["before"]), raw(each["after"])
        gone = {*each["erased_before"], *each["positions"]}
        if len(gone) == records:
            assert after == bytes(4 * records)
            continue
        lengths = struct.unpack_from(f"<{records}I", before)
        assert {i for i, length in enumerate(lengths) if not length} == {*each["erased_before"]}
        at, left, kept = 4 * records, b"", b""
        for i, length in enumerate(lengths):
            cell = b"" if i in gone else before[at : at + length]
            left, kept, at = left + struct.pack("<I", len(cell)), kept + cell, at + length
        assert at == len(before)
        assert after == left + kept
    whole = [each for each in listed if len(each["positions"]) + len(each["erased_before"]) == 3]
    assert len(listed) > 6
    assert whole, "one batch of three lost all its records"


@pytest.mark.parametrize("what", ["erase", "replace"])
def test_an_erasure_names_what_it_changes(what: str) -> None:
    found = load("ledger")
    named: list[tuple[int, str, int, str, str]] = []
    for step in found["steps"]:
        if raw(step["leaf"])[0] != ACT_LEAF:
            continue
        payload = acts.parse_envelope(raw(step["leaf"])[1:])[1].payload
        if isinstance(payload, acts.Erase if what == "erase" else acts.Replace):
            named += [
                (step["index"], e.batch.hex(), b.field, b.before.hex(), b.after.hex())
                for e in payload.erasures
                for b in e.blocks
            ]
    listed = {
        (
            *(each["index"], each["batch"], each["field"]),
            hashlib.sha256(raw(each["before"])).hexdigest(),
            hashlib.sha256(raw(each["after"])).hexdigest(),
        )
        for each in found["erasures"]
    }
    assert named
    assert set(named) <= listed


def test_a_log_of_which_parts_are_gone_says_the_same() -> None:
    found, gone = load("ledger"), load("ledger")["gone"]
    there = Replay().until(gone["size"])
    replay = Replay()
    for case in found["steps"][: gone["size"]]:
        sides = list[SentPart](map(raw, case["sides"]))
        for index, number in gone["parts"]:
            if index == case["index"]:
                sides[number] = Gone(leaf_hash(raw(case["sides"][number])))
        replay.keep(*replay.check_leaf(raw(case["leaf"]), sides))
    state = there.ledger.state
    assert replay.ledger.state == state
    assert replay.gone
    assert all(map(state.is_retired, replay.gone))
    live = {key: wrap for key, wrap in there.wraps.items() if not state.is_retired(key[0])}
    assert replay.wraps == live != there.wraps
    assert replay.opened.items() <= there.opened.items()
    assert {a for _, a in replay.opened} == {a for _, a in there.opened if not state.is_retired(a)}


def test_the_page_of_such_a_log_is_this() -> None:
    found, gone = load("ledger"), load("ledger")["gone"]
    page = from_bytes(LogPage, raw(gone["page"]))
    checkpoint = parse_note(page.checkpoint, raw(found["vault_id"]), SERVER_KEY)
    assert checkpoint.size == gone["size"]
    assert checkpoint.root.hex() == found["steps"][gone["size"] - 1]["root"]
    missing = {(index, number) for index, number in gone["parts"]}
    for index, leaf in enumerate(page.leaves, page.start):
        step = found["steps"][index]
        assert leaf.leaf.hex() == step["leaf"]
        for number, (part, whole) in enumerate(zip(leaf.sides, step["sides"], strict=True)):
            left = Gone(leaf_hash(raw(whole))) if (index, number) in missing else raw(whole)
            assert part.sent() == left
    assert any(part.content is None for leaf in page.leaves for part in leaf.sides)


@cache
def replayed_until(name: str, size: int) -> Replay:
    return Replay(name).until(size)


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(name, case, id=case["name"])
        for name in LEDGERS
        for case in load(name)["refused"]
    ],
)
def test_a_leaf_that_is_refused(name: str, case: Json) -> None:
    replay = replayed_until(name, case["after"])
    before = replay.ledger.state, replay.ledger.tree.root(), dict(replay.wraps)
    with pytest.raises(SealroomError) as caught:
        replay.check(case)
    assert caught.value.code == case["error"]
    assert before == (replay.ledger.state, replay.ledger.tree.root(), replay.wraps)


@pytest.mark.parametrize("what", ["withdrawal", "change-of-role", "join"])
def test_the_end_of_an_invite_taints_the_data_that_it_carried(what: str) -> None:
    """The refused records stand under one tainted epoch only, that of the core field."""
    found = load("ledger_invites")
    (refused,) = (
        c for c in found["refused"] if c["name"] == f"records-after-a-{what}-ended-an-invite"
    )
    state = replayed_until("ledger_invites", refused["after"]).ledger.state
    _, act = acts.parse_envelope(raw(refused["leaf"])[1:])
    assert isinstance(act.payload, acts.Commit)
    (manifest,) = act.payload.manifests
    epochs = {
        ref.field: state.epoch(Address(act.payload.collection, ref.field, ref.epoch))
        for ref in manifest.blocks
    }
    assert {number: epoch and epoch.tainted for number, epoch in epochs.items()} == {
        0: False,
        1: True,
    }


def test_two_epochs_of_a_field_may_come_in_one_act() -> None:
    found = load("ledger_invites")
    (step,) = (s for s in found["steps"] if s["name"] == "two epochs of one field in one act")
    _, act = acts.parse_envelope(raw(step["leaf"])[1:])
    assert isinstance(act.payload, acts.CreateEpoch)
    assert [(each.field, each.epoch) for each in act.payload.epochs] == [(0, 1), (0, 2)]
    known = replayed_until("ledger_invites", step["index"] + 1).ledger.state.epochs
    assert len(known[act.payload.epochs[0].collection, 0]) == 2


def test_the_observation_is_its_leaf() -> None:
    whole = replayed("ledger")
    case = whole.found["observation"]
    envelope = raw(case["envelope"])
    leaf = b"\x02" + digest(Label.OBSERVATION_LEAF, raw(case["salt"]), envelope)
    assert leaf.hex() == case["leaf"] == whole.found["steps"][case["index"]]["leaf"]
    signed = from_bytes(Envelope, envelope)
    body = signed.verify(whole.ledger.state.server_key, Label.OBSERVATION)
    assert body.hex() == case["body"]
    assert to_bytes(from_bytes(ObservationBody, body)) == body


def test_a_leaf_is_checked_against_one_state_only() -> None:
    whole = replayed("ledger")
    case = next(c for c in whole.found["refused"] if c["error"] == "replay")
    assert case["after"] < whole.ledger.size
    earlier = Replay().until(3)
    landed, _ = earlier.check(whole.found["steps"][3])
    with pytest.raises(ApiMisuse):
        whole.ledger.append(landed)
