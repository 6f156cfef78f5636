"""What travels beside an act: exactly the right keys, proved, in boxes for the right people."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.crypto.identity import Identity
from client.crypto.secrets import FieldKey
from client.crypto.wraps import NewEpoch, create_epoch, open_keys
from protocol import acts
from protocol.acts import Act, Role
from protocol.blocks import Address, FieldClass
from protocol.errors import (
    ContextMismatch,
    IntegrityError,
    LimitExceeded,
    MalformedMessage,
    NotAuthorised,
    SealroomError,
    WeakKey,
)
from protocol.group import base_mul
from protocol.ledger import (
    CheckedSides,
    Gone,
    act_leaf,
    check_sides,
    encode_part,
    sides,
    sides_root,
)
from protocol.ledger.sides import (
    BoxPart,
    Entry,
    Part,
    SentPart,
    WrapsPart,
    box_info,
    parse_part,
    required_entries,
)
from protocol.limits import LIMITS
from protocol.merkle import leaf_hash
from protocol.rewrap import REWRAP_PROOF_BYTES, Wrap
from tests import edwards
from tests.world import World, joining, of_class, rotating

GENERAL, CORE = FieldClass.GENERAL, FieldClass.CORE


@dataclass(frozen=True)
class Case:
    """An act with the sides that its honest author made, in a world that it has not changed."""

    world: World
    author: Identity
    act: Act
    sides: tuple[bytes, ...]
    readers: tuple[Identity, ...]

    def check(
        self, parts: Sequence[SentPart] | None = None, gone: Collection[Address] = ()
    ) -> CheckedSides:
        """Check other sides, signed anew by the author: as a cheating author would."""
        sent = self.sides if parts is None else tuple(parts)
        act = replace(self.act, sides_root=sides_root(sent))
        landed = self.world.ledger.check(act_leaf(self.world.signed(self.author, act)))
        assert landed.before is not None
        return check_sides(landed.before, landed.after, act, sent, self.world.wraps, gone)

    def show(self, parts: Sequence[SentPart]) -> CheckedSides:
        """Check what a server shows of the sides that the author made and signed."""
        act = replace(self.act, sides_root=sides_root(self.sides))
        before, after = self.world.state, self.world.ledger.preview(self.act)
        return check_sides(before, after, act, parts, self.world.wraps)

    @property
    def parts(self) -> list[Part]:
        return [parse_part(part) for part in self.sides]

    def with_part(self, index: int, part: Part) -> list[bytes]:
        return [*self.sides[:index], encode_part(part), *self.sides[index + 1 :]]

    @property
    def wraps(self) -> list[tuple[int, WrapsPart]]:
        return [(i, part) for i, part in enumerate(self.parts) if isinstance(part, WrapsPart)]

    @property
    def boxes(self) -> list[tuple[int, BoxPart]]:
        return [(i, part) for i, part in enumerate(self.parts) if isinstance(part, BoxPart)]


class Crowd(World):
    """A vault with two admins, two bidders, one who was removed, and open invites."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.people()
        self.data = self.collection(GENERAL, CORE)
        self.admin = self.member(Role.ADMIN, (of_class(GENERAL), of_class(CORE)))
        self.narrow = self.member(Role.ADMIN, (of_class(GENERAL),))
        self.bidder = self.member(Role.BIDDER, (of_class(CORE),))
        self.other = self.member()
        self.removed = self.member(Role.BIDDER, (of_class(CORE),))
        self.remove(self.removed)
        _, self.link = self.invite(self.owner, rules=(of_class(CORE),))
        _, second = self.invite(self.owner, rules=(of_class(CORE),))
        self.waiting = self.join(second)


def case(world: Crowd, kind: str) -> Case:
    newcomer = Identity.generate()
    author, created = world.owner, dict[Address, NewEpoch]()
    readers: tuple[Identity, ...] = (world.other,)
    payload: acts.Payload
    if kind == "invite":
        card, key = newcomer.card(world.vault_id), Identity.generate().public.signing_key
        rules = (of_class(CORE),)
        payload = acts.Invite(card, Role.BIDDER, rules, False, world.now + 86_400, key)
        readers = (newcomer,)
    elif kind == "join":
        payload = joining(newcomer, world.vault_id, world.link)
        author, readers = world.link, (newcomer,)
    elif kind == "rotate-identity":
        payload = rotating(newcomer, world.vault_id, world.admin)
        author, readers = world.admin, (newcomer,)
    elif kind == "confirm":
        payload, readers = acts.Confirm(world.waiting.member_id), (world.waiting,)
    elif kind == "change-role":
        payload = acts.ChangeRole(world.other.member_id, Role.ADMIN)
    elif kind == "grant":
        payload = acts.Grant(world.other.member_id, (of_class(CORE),))
        author = world.admin
    elif kind == "offer":
        payload = acts.Offer(world.other.member_id, world.now + 86_400, world.state.roots())
    else:
        author = world.admin
        following = {n: len(world.state.epochs[world.data, n]) + 1 for n in (0, 1, 0x8002)}
        addresses = [Address(world.data, n, epoch) for n, epoch in following.items()]
        created = {a: create_epoch(author, world.vault_id, a) for a in addresses}
        payload = acts.CreateEpoch(tuple(new.definition for new in created.values()))
        readers = (world.owner, world.admin, world.bidder, world.narrow, world.waiting, world.link)
    act = world.draft(author, payload)
    return Case(world, author, act, world.sides(author, act, created), readers)


KINDS = [
    *("invite", "join", "confirm", "change-role", "rotate-identity", "grant", "offer"),
    "create-epoch",
]


@cache
def crowd() -> Crowd:
    return Crowd()


@cache
def honest(kind: str) -> Case:
    return case(crowd(), kind)


def outsiders(made: Case) -> list[bytes]:
    """Ids that some entry might be added for."""
    world = made.world
    assert isinstance(world, Crowd)
    parties = [world.removed, world.other, world.bidder, world.owner, world.link, made.author]
    return [each.member_id for each in parties]


# --- the control


@pytest.mark.parametrize("kind", KINDS)
def test_honest_sides_pass_and_open_for_exactly_those_entitled(kind: str) -> None:
    made = honest(kind)
    checked = made.check()
    after = made.world.ledger.preview(made.act)
    needed = required_entries(made.world.state, after, made.act)
    assert needed, "an act without sides would prove nothing here"
    assert set(checked.boxes) == set(needed)
    assert set(checked.wraps) == {(a, who) for who, those in needed.items() for a in those}
    for reader in made.readers:
        opened = open_keys(reader, after, checked)
        assert tuple(sorted(opened)) == needed.get(reader.member_id, ())
    stranger = Identity.generate()
    assert open_keys(stranger, after, checked) == {}


def test_everybody_gets_the_same_key() -> None:
    made = honest("create-epoch")
    after, checked = made.world.ledger.preview(made.act), made.check()
    keys: dict[Address, list[FieldKey]] = {}
    for reader in made.readers:
        for address, opened in open_keys(reader, after, checked).items():
            keys.setdefault(address, []).append(opened.key)
    assert {len(found) for found in keys.values()} != {1}
    assert all(key == found[0] for found in keys.values() for key in found)
    assert len({key.expose() for found in keys.values() for key in found}) == len(keys) == 3


# --- V8: short or long by one


@pytest.mark.threat("V8")
@pytest.mark.parametrize("kind", KINDS)
def test_an_act_short_by_one_is_refused(kind: str) -> None:
    made, tried = honest(kind), 0
    for index in range(len(made.sides)):
        with pytest.raises(NotAuthorised):
            made.check([*made.sides[:index], *made.sides[index + 1 :]])
        tried += 1
    for index, part in made.wraps:
        for left_out in range(len(part.entries)) if len(part.entries) > 1 else ():
            entries = (*part.entries[:left_out], *part.entries[left_out + 1 :])
            with pytest.raises(NotAuthorised):
                made.check(made.with_part(index, replace(part, entries=entries)))
            tried += 1
    with pytest.raises(NotAuthorised):
        made.check([])
    assert tried >= 2


@pytest.mark.threat("V8")
@pytest.mark.parametrize("kind", KINDS)
def test_an_act_long_by_one_is_refused(kind: str) -> None:
    made = honest(kind)
    for index, part in made.wraps:
        there = {entry.recipient for entry in part.entries}
        for extra in set(outsiders(made)) - there:
            added = replace(part.entries[0], recipient=extra)
            entries = tuple(sorted((*part.entries, added), key=lambda each: each.recipient))
            with pytest.raises(NotAuthorised, match="exactly"):
                made.check(made.with_part(index, replace(part, entries=entries)))
        twice = replace(part, entries=(*part.entries, part.entries[-1]))
        with pytest.raises(NotAuthorised, match="exactly"):
            made.check(made.with_part(index, twice))
    there_already = {part.address for _, part in made.wraps}
    boxes = [encode_part(box) for _, box in made.boxes]
    for address in set(made.world.state.live_addresses()) - there_already:
        _, first = made.wraps[0]
        more = WrapsPart(address.collection, address.field, address.epoch, first.entries)
        wraps = sorted([*(part for _, part in made.wraps), more], key=lambda each: each.address)
        with pytest.raises(NotAuthorised, match="exactly"):
            made.check([*map(encode_part, wraps), *boxes])
    _, box = made.boxes[-1]
    with pytest.raises(NotAuthorised, match="exactly"):
        made.check([*made.sides, encode_part(replace(box, recipient=b"\xff" * 32))])
    with pytest.raises(NotAuthorised, match="exactly"):
        made.check([*made.sides, encode_part(box)])


@pytest.mark.threat("V8")
@pytest.mark.threat("K4")
@pytest.mark.parametrize("kind", KINDS)
def test_an_entry_for_another_instead_is_refused(kind: str) -> None:
    made = honest(kind)
    for index, part in made.wraps:
        changed = replace(part.entries[-1], recipient=b"\xff" * 32)
        entries = (*part.entries[:-1], changed)
        with pytest.raises(NotAuthorised, match="exactly"):
            made.check(made.with_part(index, replace(part, entries=entries)))


@pytest.mark.parametrize("kind", ["noop", "revoke", "define"])
def test_acts_without_sides_carry_none(kind: str) -> None:
    world = crowd()
    payloads: dict[str, acts.Payload] = {
        "noop": acts.Noop(),
        "revoke": acts.Revoke(world.other.member_id, acts.Reason.LEFT),
        "define": acts.DefineCollection(b"n" * 16, (CORE,)),
    }
    payload = payloads[kind]
    made = Case(world, world.owner, world.draft(world.owner, payload), (), ())
    assert made.check() == CheckedSides({}, {})
    with pytest.raises(NotAuthorised, match="nothing travels beside"):
        made.check(honest("grant").sides)


def test_a_grant_that_gives_nothing_yet_carries_nothing() -> None:
    world = crowd()
    payload = acts.Grant(world.other.member_id, (of_class(FieldClass.SENSITIVE),))
    made = Case(world, world.owner, world.draft(world.owner, payload), (), ())
    assert made.check() == CheckedSides({}, {})
    with pytest.raises(NotAuthorised, match="exactly"):
        made.check(honest("grant").sides)


# --- the parts are those that the act signed


@pytest.mark.threat("Z6")
@pytest.mark.parametrize("kind", KINDS)
def test_sides_are_those_that_the_act_signed(kind: str) -> None:
    made = honest(kind)
    act = replace(made.act, sides_root=sides_root(made.sides))
    before, after = made.world.state, made.world.ledger.preview(made.act)
    check_sides(before, after, act, made.sides, made.world.wraps)
    for other in (honest(each).sides for each in KINDS if each != kind):
        with pytest.raises(ContextMismatch):
            check_sides(before, after, act, other, made.world.wraps)
    for other in (made.sides[:-1], (*made.sides, b""), made.sides[::-1], ()):
        with pytest.raises(ContextMismatch):
            check_sides(before, after, act, other, made.world.wraps)
    with pytest.raises(ContextMismatch):
        check_sides(before, after, replace(act, sides_root=None), made.sides, made.world.wraps)


def test_no_parts_have_no_root() -> None:
    assert sides_root(()) is None
    assert sides_root((b"",)) is not None


def test_parts_have_one_order() -> None:
    made = honest("create-epoch")
    for one, other in itertools.combinations(range(len(made.sides)), 2):
        swapped = list(made.sides)
        swapped[one], swapped[other] = swapped[other], swapped[one]
        with pytest.raises((NotAuthorised, MalformedMessage)):
            made.check(swapped)
    boxes = [box for _, box in made.boxes]
    with pytest.raises(MalformedMessage, match="out of order"):
        made.check([*map(encode_part, boxes), *(encode_part(part) for _, part in made.wraps)])


def test_entries_have_one_order() -> None:
    made = honest("create-epoch")
    for index, part in made.wraps:
        with pytest.raises(NotAuthorised, match="exactly"):
            made.check(made.with_part(index, replace(part, entries=part.entries[::-1])))


# --- Z1 and Z6: proofs


@pytest.mark.threat("Z1")
@pytest.mark.parametrize("kind", KINDS)
def test_every_wrap_is_proved(kind: str) -> None:
    made, tried = honest(kind), 0
    other = base_mul((12345).to_bytes(32, "little"))
    for index, part in made.wraps:
        for at, entry in enumerate(part.entries):
            if not entry.proof:
                continue
            flipped = bytes((*entry.proof[:-1], entry.proof[-1] ^ 1))
            for wrong, error in (
                (replace(entry, wrap=replace(entry.wrap, masked=other)), IntegrityError),
                (replace(entry, wrap=replace(entry.wrap, ephemeral=other)), IntegrityError),
                (replace(entry, wrap=Wrap(other, other)), IntegrityError),
                (replace(entry, proof=flipped), (IntegrityError, MalformedMessage)),
                (replace(entry, proof=b""), MalformedMessage),
                (replace(entry, proof=entry.proof[:-1]), MalformedMessage),
            ):
                entries = (*part.entries[:at], wrong, *part.entries[at + 1 :])
                with pytest.raises(error):
                    made.check(made.with_part(index, replace(part, entries=entries)))
                tried += 1
    assert tried >= 6


@pytest.mark.threat("Z5")
@pytest.mark.threat("Z6")
def test_entries_do_not_move_between_fields_members_or_kinds() -> None:
    made = honest("create-epoch")
    for (i, one), (_, other) in itertools.permutations(made.wraps, 2):
        shared = {e.recipient: e for e in other.entries if e.proof}
        for at, entry in enumerate(one.entries):
            if entry.proof and entry.recipient in shared:
                entries = (*one.entries[:at], shared[entry.recipient], *one.entries[at + 1 :])
                with pytest.raises(IntegrityError):
                    made.check(made.with_part(i, replace(one, entries=entries)))
    for index, part in made.wraps:
        proved = [at for at, entry in enumerate(part.entries) if entry.proof]
        for at, of in itertools.permutations(proved, 2):
            moved = replace(part.entries[of], recipient=part.entries[at].recipient)
            entries = (*part.entries[:at], moved, *part.entries[at + 1 :])
            with pytest.raises(IntegrityError):
                made.check(made.with_part(index, replace(part, entries=entries)))
    change = honest("change-role")
    offer = {part.address: part for _, part in honest("offer").wraps}
    for index, part in change.wraps:
        # The same author, key and recipient, but another kind of act.
        with pytest.raises(IntegrityError):
            change.check(change.with_part(index, offer[part.address]))


@pytest.mark.threat("K3")
def test_a_key_of_the_server_s_own_is_refused() -> None:
    """The server wraps a key it knows for a member: no proof joins it to the author's source."""
    world, made = crowd(), honest("grant")
    for index, part in made.wraps:
        new = create_epoch(world.admin, world.vault_id, part.address)
        forged = [replace(e, wrap=new.first_wrap) for e in part.entries]
        with pytest.raises(IntegrityError):
            made.check(made.with_part(index, replace(part, entries=tuple(forged))))


def test_an_author_passes_on_only_what_it_holds_on_record() -> None:
    world = Crowd()
    made = case(world, "grant")
    made.check()
    mine = [key for key in world.wraps if key[1] == world.admin.member_id]
    theirs = {k: w for k, w in world.wraps.items() if k[1] == world.owner.member_id}
    for key in mine:
        saved = world.wraps.pop(key)
        needed = key[0] in {part.address for _, part in made.wraps}
        if needed:
            with pytest.raises(NotAuthorised, match="holds no key"):
                made.check()
            world.wraps[key] = theirs[key[0], world.owner.member_id]
            with pytest.raises(IntegrityError):
                made.check()
        else:
            made.check()
        world.wraps[key] = saved


def test_a_creator_s_own_wrap_has_no_proof_and_others_have_one() -> None:
    made = honest("create-epoch")
    index, part = made.wraps[0]
    own = next(at for at, e in enumerate(part.entries) if e.recipient == made.author.member_id)
    assert [bool(e.proof) for e in part.entries].count(False) == 1
    with_proof = replace(part.entries[own], proof=bytes(REWRAP_PROOF_BYTES))
    entries = (*part.entries[:own], with_proof, *part.entries[own + 1 :])
    with pytest.raises(MalformedMessage, match="no proof"):
        made.check(made.with_part(index, replace(part, entries=entries)))


def test_a_creator_s_wrap_is_the_source_of_all_others() -> None:
    """Another first wrap, and nobody else's proof holds any more."""
    made = honest("create-epoch")
    index, part = made.wraps[0]
    new = create_epoch(made.author, made.world.vault_id, part.address)
    entries = tuple(e if e.proof else replace(e, wrap=new.first_wrap) for e in part.entries)
    with pytest.raises(IntegrityError):
        made.check(made.with_part(index, replace(part, entries=entries)))


@pytest.mark.threat("Z1")
def test_nobody_but_a_creator_wraps_for_itself_without_a_proof() -> None:
    """Should a transition ever let an admin grant itself a field, its wrap alone proves nothing."""
    world = crowd()
    address = Address(world.data, 1, 1)
    act = world.draft(
        world.narrow, acts.Grant(world.narrow.member_id, (of_class(CORE, world.data),))
    )
    member = world.state.members[world.narrow.member_id]
    after = world.state.with_member(
        replace(member, rules=(*member.rules, of_class(CORE, world.data)))
    )
    new = create_epoch(world.narrow, world.vault_id, address)
    entry = Entry(world.narrow.member_id, new.first_wrap, b"")
    box = BoxPart(world.narrow.member_id, bytes(1120 + 16 + 32))
    parts = [encode_part(each) for each in (WrapsPart(world.data, 1, 1, (entry,)), box)]
    act = replace(act, sides_root=sides_root(parts))
    assert required_entries(world.state, after, act) == {world.narrow.member_id: (address,)}
    with pytest.raises(NotAuthorised, match="holds no key"):
        check_sides(world.state, after, act, parts, world.wraps)
    on_record = {**world.wraps, (address, world.narrow.member_id): new.first_wrap}
    with pytest.raises(MalformedMessage, match="proof"):
        check_sides(world.state, after, act, parts, on_record)


# --- K8: boxes


@pytest.mark.threat("K8")
@pytest.mark.parametrize("kind", KINDS)
def test_a_box_has_the_size_of_its_shares(kind: str) -> None:
    made = honest(kind)
    for index, box in made.boxes:
        for wrong in (b"", box.box[:-1], box.box + b"\0", box.box[:-32], box.box + bytes(32)):
            with pytest.raises(MalformedMessage, match="box"):
                made.check(made.with_part(index, replace(box, box=wrong)))


@pytest.mark.threat("K8")
def test_boxes_swapped_pairwise_open_for_nobody() -> None:
    """Between recipients of an act, between acts, and the same act made twice."""
    world = Crowd()
    members = {
        p.member_id: p
        for p in (
            world.owner,
            world.admin,
            world.narrow,
            world.bidder,
            world.other,
            world.waiting,
            world.link,
        )
    }
    made = [case(world, kind) for kind in ("create-epoch", "offer", "grant", "create-epoch")]
    boxes = [(each, i, box) for each in made for i, box in each.boxes]
    swapped = 0
    for (one, index, box), (other, at, foreign) in itertools.permutations(boxes, 2):
        if len(box.box) != len(foreign.box):
            continue
        checked = one.check(one.with_part(index, replace(box, box=foreign.box)))
        after = world.ledger.preview(one.act)
        with pytest.raises(IntegrityError):
            open_keys(members[box.recipient], after, checked)
        assert (one, index) != (other, at)
        swapped += 1
    assert swapped >= 20


@pytest.mark.threat("K8")
@given(st.data())
@settings(max_examples=25)
def test_no_byte_of_a_box_can_change(data: st.DataObject) -> None:
    made = honest("grant")
    index, box = made.boxes[0]
    at = data.draw(st.integers(0, len(box.box) - 1))
    changed = bytearray(box.box)
    changed[at] ^= data.draw(st.integers(1, 255))
    checked = made.check(made.with_part(index, replace(box, box=bytes(changed))))
    with pytest.raises(IntegrityError):
        open_keys(made.readers[0], made.world.ledger.preview(made.act), checked)


@pytest.mark.threat("K8")
def test_a_box_is_bound_to_vault_kind_people_and_every_entry() -> None:
    address = Address(b"c" * 16, 1, 1)
    whole = (b"v" * 32, "grant", b"a" * 32, b"r" * 32, [(address, b"h" * 32, b"l" * 32)])
    one = whole[4][0]
    others = [
        (b"w" * 32, *whole[1:]),
        (whole[0], "offer", *whole[2:]),
        (*whole[:2], b"b" * 32, *whole[3:]),
        (*whole[:3], b"s" * 32, whole[4]),
        (*whole[:4], []),
        (*whole[:4], [one, one]),
        (*whole[:4], [(replace(address, epoch=2), *one[1:])]),
        (*whole[:4], [(address, b"i" * 32, b"l" * 32)]),
        (*whole[:4], [(address, b"h" * 32, b"m" * 32)]),
    ]
    infos = {box_info(*each) for each in [whole, *others]}
    assert len(infos) == 1 + len(others)


@pytest.mark.threat("K8")
@pytest.mark.parametrize("kind", KINDS)
def test_the_hash_that_a_box_binds_is_of_every_entry_of_its_part(kind: str) -> None:
    """Also of those for others: no entry can be exchanged under a box that stays."""
    made, tried = honest(kind), 0
    boxes = {box.recipient: made.check().boxes[box.recipient].info for _, box in made.boxes}
    for index, part in made.wraps:
        for at, entry in enumerate(part.entries):
            other = create_epoch(made.author, made.world.vault_id, part.address).first_wrap
            entries = (
                *part.entries[:at],
                replace(entry, wrap=other),
                *part.entries[at + 1 :],
            )
            changed = made.with_part(index, replace(part, entries=entries))
            found = made.check(changed, gone=[part.address])
            for recipient, checked in found.boxes.items():
                assert (checked.info == boxes[recipient]) == (part.address not in checked.addresses)
                tried += 1
    assert tried


# --- parts that are gone


def gone_but(made: Case, *kept: int) -> list[SentPart]:
    """Return the sides with only these parts there."""
    return [
        part if index in kept else Gone(leaf_hash(part)) for index, part in enumerate(made.sides)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_part_that_is_gone_its_hash_is_checked(kind: str) -> None:
    made, whole = honest(kind), honest(kind).check()
    for index, part in enumerate(made.sides):
        others = [at for at in range(len(made.sides)) if at != index]
        shown = gone_but(made, *others)
        found = made.show(shown)
        parsed = parse_part(part)
        if isinstance(parsed, WrapsPart):
            assert found.gone == {parsed.address}
            assert found.boxes == whole.boxes
            assert found.wraps == {k: w for k, w in whole.wraps.items() if k[0] != parsed.address}
        else:
            assert found.gone == set(whole.boxes[parsed.recipient].addresses)
            assert found.wraps == whole.wraps
            left = {k: box for k, box in whole.boxes.items() if k != parsed.recipient}
            assert found.boxes == left
        for wrong in (bytes(32), leaf_hash(part)[::-1], leaf_hash(leaf_hash(part)), part[:32]):
            with pytest.raises(ContextMismatch):
                made.show([*shown[:index], Gone(wrong), *shown[index + 1 :]])
    nothing = made.show(gone_but(made))
    assert (nothing.wraps, nothing.boxes) == ({}, {})
    assert nothing.gone == {address for address, _ in whole.wraps}


# --- encodings and limits


@pytest.mark.parametrize("kind", KINDS)
def test_parts_encode_as_they_parse(kind: str) -> None:
    for part in honest(kind).sides:
        assert encode_part(parse_part(part)) == part


@given(st.binary(max_size=200))
def test_any_bytes_are_no_part_or_an_error_of_ours(data: bytes) -> None:
    with pytest.raises(SealroomError):
        parse_part(data)


@pytest.mark.threat("Z3")
@pytest.mark.parametrize("bad", edwards.SMALL_ENCODINGS)
def test_bad_points_in_sides_are_refused(bad: bytes) -> None:
    made = honest("confirm")
    index, part = made.wraps[0]
    for point in (part.entries[0].wrap.ephemeral, part.entries[0].wrap.masked):
        changed = made.sides[index].replace(bytes(point), bad)
        with pytest.raises(WeakKey):
            made.check([*made.sides[:index], changed, *made.sides[index + 1 :]])


@pytest.mark.threat("D1")
def test_sides_are_bounded_before_they_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = honest("offer")
    size = sum(map(len, made.sides))
    for limits in (
        replace(LIMITS, side_parts=len(made.sides) - 1),
        replace(LIMITS, sides_bytes=size - 1),
    ):
        monkeypatch.setattr(sides, "LIMITS", limits)
        with pytest.raises(LimitExceeded):
            made.check()
        # What is gone counts as a part, and has no bytes.
        all_gone = gone_but(made)
        if limits.side_parts < len(made.sides):
            with pytest.raises(LimitExceeded):
                made.show(all_gone)
        else:
            made.show(all_gone)
    monkeypatch.setattr(sides, "LIMITS", replace(LIMITS, side_parts=len(made.sides)))
    made.check()


def test_refused_sides_leave_everything_as_it_was() -> None:
    world = crowd()
    before, wraps = copy.deepcopy(world.state), dict(world.wraps)
    size = world.ledger.size
    for kind in KINDS:
        made = honest(kind)
        with pytest.raises(NotAuthorised):
            world.land_leaf(
                act_leaf(world.signed(made.author, replace(made.act, sides_root=None))), ()
            )
    assert (world.state, world.wraps, world.ledger.size) == (before, wraps, size)
