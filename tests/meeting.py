"""A vault in which every kind of act has something to do, and what must hold after any of them."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from client.crypto.identity import Identity
from client.crypto.wraps import NewEpoch, create_epoch
from protocol import acts
from protocol.acts import MovedBlock, Reason, Role, Statement
from protocol.blocks import (
    PEOPLE_COLLECTION,
    PEOPLE_FIELD,
    Address,
    BlockRef,
    FieldClass,
    Manifest,
    Padding,
    is_catalog,
)
from protocol.ledger import Landed, State, act_leaf, sides_root
from protocol.ledger.holders import held
from tests.world import World, joining, of_class, of_field, rotating

GENERAL, CORE = FieldClass.GENERAL, FieldClass.CORE
NAMES = 0x8000


class Meeting(World):
    """A vault with something for every act to do, that remembers what is in each block."""

    def __post_init__(self) -> None:
        self.contents: dict[bytes, frozenset[int]] = {}
        super().__post_init__()
        self.people()
        everything = (of_class(GENERAL), of_class(CORE))
        self.data = self.collection(GENERAL, CORE)
        self.admin = self.member(Role.ADMIN, everything)
        self.other = self.member(Role.ADMIN, everything)
        self.reader = self.member(Role.BIDDER, (of_class(CORE),))
        self.buyer = self.member(Role.BIDDER, (of_class(GENERAL),))
        self.auditor = self.member(Role.AUDITOR)
        self.link = self.invite(self.owner, rules=(of_class(CORE),))[1]
        self.spare = self.invite(self.owner)[1]
        self.waiting = self.join(self.invite(self.owner, rules=(of_class(CORE),))[1])
        self.first, self.second = (self.records(self.data) for _ in range(2))
        self.commit(self.owner, self.data, self.first, self.second)
        # Epoch 2 of each field takes what moves; epoch 1 of the people's names can be retired.
        fields = [(self.data, number) for number in (0, 1, NAMES)]
        self.epochs(self.owner, *fields, (PEOPLE_COLLECTION, PEOPLE_FIELD), readers=self.everybody)
        self.dealt = self.deal(self.admin, self.reader, self.auditor)
        self.newcomers: list[Identity] = []

    former: tuple[Identity, ...] = ()
    carrying: Identity
    made: tuple[MovedBlock, ...] = ()

    @property
    def everybody(self) -> tuple[Identity, ...]:
        return (
            *(self.owner, self.admin, self.other, self.reader, self.buyer, self.auditor),
            *(self.link, self.waiting, *getattr(self, "newcomers", ())),
        )

    def copied(self) -> Meeting:
        other = copy.copy(self)
        other.ledger, other.wraps = self.ledger.copy(), dict(self.wraps)
        other.opened = {who: dict(keys) for who, keys in self.opened.items()}
        other.leaves, other.newcomers = list(self.leaves), list(self.newcomers)
        return other

    # --- what is in a block

    def manifest(self, collection: bytes, fields: Sequence[int], records: int = 3) -> Manifest:
        made = super().manifest(collection, fields, records)
        self.contents |= {ref.sha256: frozenset(range(records)) for ref in made.blocks}
        return made

    def erasure(
        self, collection: bytes, batch_id: bytes, positions: Collection[int]
    ) -> acts.Erasure:
        made = super().erasure(collection, batch_id, positions)
        for block in made.blocks:
            self.contents[block.after] = self.contents[block.before] - frozenset(positions)
        return made

    def moves(
        self, collection: bytes, *fields: int, batches: Collection[bytes] | None = None
    ) -> tuple[MovedBlock, ...]:
        made = super().moves(collection, *fields, batches=batches)
        for move in made:
            self.contents[move.block.sha256] = self.contents[move.before]
        return made


# --- one act of every kind


def moving(world: Meeting, *moves: MovedBlock, part: int = 0, last: bool = True) -> acts.Reencrypt:
    return acts.Reencrypt(b"r" * 16, world.data, part, last, moves)


def an_invite(world: Meeting) -> acts.Payload:
    card = Identity.generate().card(world.vault_id)
    key = Identity.generate().public.signing_key
    return acts.Invite(card, Role.BIDDER, (of_class(CORE),), False, world.now + 86_400, key)


def an_acceptance(world: World) -> acts.Payload:
    opened = world.state.offer
    return acts.Accept(opened.index if opened else 0, world.ledger.size, world.receipts())


def a_rejection(world: World) -> acts.Payload:
    return acts.Reject(world.state.offer.index if world.state.offer else 0, Reason.TERMS)


def a_commit(world: Meeting) -> acts.Payload:
    where = world.state.collections.get(world.data)
    fields = (0, 1) if where else ()
    records = world.manifest(world.data, fields) if where else world.first
    return acts.Commit(os.urandom(16), world.data, 0, True, (records,))


def an_erasure(world: Meeting) -> acts.Payload:
    where = world.state.collections.get(world.data)
    batch = where.by_id().get(world.first.batch_id) if where else None
    left = sorted({0, 1, 2} - batch.erased) if batch else []
    erasure = world.erasure(world.data, world.first.batch_id, left[:1]) if left else NOTHING
    return acts.Erase(world.data, Reason.REQUEST, (erasure,))


def a_replacement(world: Meeting) -> acts.Payload:
    erased, committed = an_erasure(world), a_commit(world)
    assert isinstance(erased, acts.Erase)
    assert isinstance(committed, acts.Commit)
    return acts.Replace(
        *(committed.upload, world.data, 0, committed.manifests, Reason.MISTAKE, erased.erasures)
    )


def a_re_encryption(world: Meeting) -> acts.Payload:
    moves = world.moves(world.data, 0, 1) if world.data in world.state.collections else ()
    return replace(moving(world, *(moves or (NO_MOVE,))), upload=os.urandom(16))


def an_epoch(world: Meeting) -> acts.Payload:
    """Return the definition of the next epoch of a field; its key is made when it is signed."""
    newest = world.state.newest(world.data, 1)
    epoch = newest.address.epoch + 1 if newest else 1
    return acts.CreateEpoch((acts.EpochDefinition(world.data, 1, epoch, bytes(32), bytes(32)),))


NOTHING = acts.Erasure(b"b" * 16, (0,), (acts.EmptiedBlock(0, bytes(32), 4, bytes(32)),))
NO_MOVE = MovedBlock(b"b" * 16, bytes(32), BlockRef(0, 1, bytes(16), 4, bytes(32), Padding.UNIFORM))


@dataclass(frozen=True)
class Doing:
    """Who does it, and what: made anew on the state there is."""

    who: Callable[[Meeting], Identity]
    what: Callable[[Meeting], acts.Payload]


def by(name: str, what: Callable[[Meeting], acts.Payload]) -> Doing:
    def who(world: Meeting) -> Identity:
        found = getattr(world, name)
        assert isinstance(found, Identity)
        return found

    return Doing(who, what)


DOINGS: dict[str, Doing] = {
    "invite": by("admin", an_invite),
    "withdraw-invite": by("other", lambda w: acts.WithdrawInvite(w.spare.member_id)),
    "join": by("link", lambda w: joining(Identity.generate(), w.vault_id, w.link)),
    "confirm": by("other", lambda w: acts.Confirm(w.waiting.member_id)),
    "change-role": by("owner", lambda w: acts.ChangeRole(w.other.member_id, Role.KEYLESS_ADMIN)),
    "revoke": by("admin", lambda w: acts.Revoke(w.reader.member_id, Reason.LEFT)),
    "rotate-identity": by("owner", lambda w: rotating(Identity.generate(), w.vault_id, w.owner)),
    "define-collection": by("other", lambda w: acts.DefineCollection(os.urandom(16), (CORE,))),
    "retire-collection": by("owner", lambda w: acts.RetireCollection(w.data, Reason.RETENTION)),
    "retire-epoch": by(
        "owner", lambda w: acts.RetireEpoch((acts.EpochName(PEOPLE_COLLECTION, PEOPLE_FIELD, 1),))
    ),
    "create-epoch": by("other", an_epoch),
    "grant": by("admin", lambda w: acts.Grant(w.buyer.member_id, (of_field(w.data, 1),))),
    "withdraw-grant": by(
        "other", lambda w: acts.WithdrawGrant(w.reader.member_id, (of_class(CORE),))
    ),
    "commit": by("admin", a_commit),
    "erase": by("other", an_erasure),
    "replace": by("admin", a_replacement),
    "re-encrypt": by("admin", a_re_encryption),
    "offer": by("owner", lambda w: acts.Offer(w.buyer.member_id, w.now + 86_400, w.state.roots())),
    "accept": by("buyer", an_acceptance),
    "reject": by("buyer", a_rejection),
    "expire": by("auditor", lambda w: acts.Expire()),
    "freeze": by("other", lambda w: acts.Freeze(Reason.BREACH)),
    "unfreeze": by("owner", lambda w: acts.Unfreeze()),
    "destroy": by("owner", lambda w: acts.Destroy(Reason.RETENTION)),
    "policy": by("owner", lambda w: acts.ChangePolicy(acts.DEFAULT_POLICY)),
    "custodians": by("owner", lambda w: acts.Custodians(w.dealing(w.admin, w.auditor))),
    "release": by("auditor", lambda w: w.release(Identity.generate(), w.dealt)),
    "attest": by("reader", lambda w: acts.Attest(Statement.KEYS_DESTROYED)),
    "heartbeat": by("reader", lambda w: acts.Heartbeat()),
    "noop": by("reader", lambda w: acts.Noop()),
}


# --- signing, and landing


@dataclass(frozen=True)
class Signed:
    """An act as its author sent it, with what travels beside it, and whom it brings."""

    kind: str
    leaf: bytes
    sides: tuple[bytes, ...]
    newcomers: tuple[Identity, ...]


def signed(world: Meeting, kind: str, author: Identity) -> Signed:
    """Sign an act of a kind on the state that there is.

    Raises:
        SealroomError: it would be refused there.
    """
    newcomers = list[Identity]()
    payload, created = _made(world, kind, author, newcomers)
    act = world.draft(author, payload)
    sides = world.sides(author, act, created)
    act = replace(act, sides_root=sides_root(sides))
    return Signed(kind, act_leaf(world.signed(author, act)), sides, tuple(newcomers))


def _made(
    world: Meeting, kind: str, author: Identity, newcomers: list[Identity]
) -> tuple[acts.Payload, dict[Address, NewEpoch]]:
    """Return the payload with real keys: those of whom it brings are kept to read with."""
    payload = DOINGS[kind].what(world)
    if isinstance(payload, acts.CreateEpoch):
        address = payload.epochs[0].address
        new = create_epoch(author, world.vault_id, address)
        return acts.CreateEpoch((new.definition,)), {address: new}
    newcomer = Identity.generate()
    if isinstance(payload, acts.Join):
        newcomers.append(newcomer)
        return joining(newcomer, world.vault_id, world.link), {}
    if isinstance(payload, acts.RotateIdentity):
        newcomers.append(newcomer)
        return rotating(newcomer, world.vault_id, author), {}
    return payload, {}


def land(world: Meeting, act: Signed) -> Landed:
    landed = world.land_leaf(act.leaf, act.sides, (*world.everybody, *act.newcomers))
    world.newcomers += act.newcomers
    if landed.after.owner != world.owner.member_id:
        world.former = (*world.former, world.owner)
    if act.kind == "accept":
        world.owner = world.buyer
    if landed.after.owner in {each.member_id for each in act.newcomers}:
        (world.owner,) = act.newcomers
    return landed


# --- what has to hold


def assert_sound(world: Meeting, before: State) -> None:
    state = world.state
    owners = [m.id for m in state.members.values() if m.live and m.role is Role.OWNER]
    assert owners == [state.owner] == [world.owner.member_id]
    _nothing_is_lost(world)
    _nothing_comes_back(world, before)
    _nobody_reads_on(world)


def _nothing_is_lost(world: Meeting) -> None:
    """Every holder has every live key, proved; every block lies under one that its owner opens."""
    state = world.state
    for party in state.parties():
        for address in held(state, party.id):
            assert (address, party.id) in world.wraps, (address, party)
    for reader in world.everybody:
        assert held(state, reader.member_id) <= world.opened.get(reader.member_id, {}).keys()
    for where in state.collections.values():
        for address in where.addresses():
            assert not state.is_retired(address)
            assert address in world.opened[world.owner.member_id]
    assert not [address for address, _ in world.wraps if state.is_retired(address)]


def _nothing_comes_back(world: Meeting, before: State) -> None:
    state = world.state
    for where in state.collections.values():
        earlier = before.collections[where.id].by_id() if where.id in before.collections else {}
        for batch in where.batches:
            if batch.id in earlier:
                assert earlier[batch.id].erased <= batch.erased
            left = frozenset(range(batch.manifest.records)) - batch.erased
            for ref in batch.manifest.blocks:
                assert world.contents[ref.sha256] == left
    for epoch in before.live_epochs():
        now = state.epoch(epoch.address)
        if epoch.tainted and now is not None:
            assert now.tainted


def _nobody_reads_on(world: Meeting) -> None:
    state = world.state
    open_now = {epoch.address for epoch in state.live_epochs() if not epoch.tainted}
    buyer = state.offer.buyer if state.offer else None
    for who in (*world.everybody, *world.former):
        member = state.members.get(who.member_id)
        known = open_now & world.opened.get(who.member_id, {}).keys()
        if member is None or who.member_id == buyer:
            continue
        if not member.live:
            assert not known
        data = {address for address in known if not is_catalog(address.field)}
        assert data <= held(state, who.member_id)
