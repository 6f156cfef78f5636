"""A vault in memory, for tests: real identities, acts and sides, no server and no network."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nacl.signing import SigningKey

from client.crypto.identity import Identity
from client.crypto.invites import fresh_invite_secret, invite_access_key, invite_identity
from client.crypto.secrets import InviteSecret, Share
from client.crypto.wraps import NewEpoch, OpenedKey, create_epoch, make_sides, open_keys
from protocol import acts
from protocol.acts import (
    DEFAULT_POLICY,
    Act,
    Citation,
    Dealing,
    Erasure,
    MovedBlock,
    Policy,
    Reason,
    Role,
    Rule,
    SealedShare,
)
from protocol.acts.recovery import SEED_BOX_BYTES, SHARE_BOX_BYTES
from protocol.blocks import (
    PEOPLE_COLLECTION,
    PEOPLE_FIELD,
    Address,
    BlockRef,
    FieldClass,
    Manifest,
    Padding,
)
from protocol.checkpoint import Checkpoint, signed_message
from protocol.group import Scalar, base_mul
from protocol.identity import join_context, recovery_context, rotation_context
from protocol.labels import Label
from protocol.ledger import Landed, Ledger, act_leaf, check_sides, sides_root
from protocol.ledger.contents import Batch, Epoch
from protocol.ledger.holders import held
from protocol.ledger.members import rule_order
from protocol.ledger.state import State
from protocol.rewrap import Wrap
from protocol.wire import Envelope, pae, to_bytes

NOW = 1_800_000_000


@dataclass
class World:
    """One vault, its log key, and everybody's secrets; every step goes through the real checks."""

    server: SigningKey = field(default_factory=SigningKey.generate)
    owner: Identity = field(default_factory=Identity.generate)
    policy: Policy = DEFAULT_POLICY
    now: int = NOW

    def __post_init__(self) -> None:
        self.ledger = Ledger()
        self.wraps: dict[tuple[Address, bytes], Wrap] = {}
        self.opened: dict[bytes, dict[Address, OpenedKey]] = {}
        self.leaves: list[tuple[bytes, tuple[bytes, ...]]] = []
        self.land_leaf(act_leaf(self.genesis()), ())

    @property
    def state(self) -> State:
        return self.ledger.state

    @property
    def vault_id(self) -> bytes:
        return self.state.vault_id

    def genesis(self) -> bytes:
        payload = acts.Genesis(
            acts.SUITE,
            os.urandom(32),
            self.owner.card(acts.NO_VAULT),
            bytes(self.server.verify_key),
            self.policy,
        )
        return self.signed(
            self.owner, Act(acts.NO_VAULT, self.owner.member_id, 0, None, payload, None)
        )

    def citation(self, size: int | None = None, time: int | None = None) -> Citation:
        size = self.ledger.size if size is None else size
        time = self.now if time is None else time
        root = self.ledger.tree.root(size)
        message = signed_message(self.vault_id, size, root, time)
        signature = self.server.sign(message).signature
        return Citation.of(
            Checkpoint.verified(
                self.vault_id, size, root, time, signature, bytes(self.server.verify_key)
            )
        )

    def signed(self, author: Identity, act: Act) -> bytes:
        body = act.body()
        return to_bytes(Envelope(Label.ACT, body, author.sign(pae(Label.ACT, body))))

    def draft(self, author: Identity, payload: acts.Payload, cited: Citation | None = None) -> Act:
        number = self.state.numbers.get(author.member_id, 0)
        return Act(self.vault_id, author.member_id, number, cited or self.citation(), payload, None)

    def shares(self, party: Identity) -> Mapping[Address, Share]:
        return {a: key.share for a, key in self.opened.get(party.member_id, {}).items()}

    def sides(
        self, author: Identity, act: Act, created: Mapping[Address, NewEpoch] | None = None
    ) -> tuple[bytes, ...]:
        after = self.ledger.preview(act)
        return make_sides(
            author,
            act,
            self.state,
            after,
            on_record=self.wraps,
            shares=self.shares(author),
            created=created,
        )

    def land(
        self,
        author: Identity,
        payload: acts.Payload,
        *,
        cited: Citation | None = None,
        created: Mapping[Address, NewEpoch] | None = None,
        readers: Sequence[Identity] = (),
    ) -> Landed:
        """Sign and land one act with its sides; `readers` open what it holds for them."""
        act = self.draft(author, payload, cited)
        sides = self.sides(author, act, created)
        act = replace(act, sides_root=sides_root(sides))
        return self.land_leaf(act_leaf(self.signed(author, act)), sides, (author, *readers))

    def judge(
        self, author: Identity, payload: acts.Payload, cited: Citation | None = None
    ) -> Landed:
        """Return what the ledger says to an act, sides aside; nothing lands."""
        act = self.draft(author, payload, cited)
        return self.ledger.check(act_leaf(self.signed(author, act)))

    def land_leaf(
        self, leaf: bytes, sides: tuple[bytes, ...], readers: Sequence[Identity] = ()
    ) -> Landed:
        landed = self.ledger.check(leaf)
        if landed.act is not None and landed.before is not None:
            checked = check_sides(landed.before, landed.after, landed.act, sides, self.wraps)
            for reader in readers:
                keys = open_keys(reader, landed.after, checked)
                self.opened.setdefault(reader.member_id, {}).update(keys)
            self.wraps.update(checked.wraps)
        self.ledger.append(landed)
        if landed.before is not None and landed.after.retired_since(landed.before):
            live = (key for key in self.wraps if not landed.after.is_retired(key[0]))
            self.wraps = {key: self.wraps[key] for key in live}
        self.leaves.append((leaf, sides))
        return landed

    def tainted(self) -> set[Address]:
        """The epochs that take no more commits."""
        return {a for a in self.state.live_addresses() if self.epoch(a).tainted}

    def epoch(self, address: Address) -> Epoch:
        found = self.state.epoch(address)
        assert found is not None
        return found

    def held(self, party: Identity) -> frozenset[Address]:
        return held(self.state, party.member_id)

    def remove(self, member: Identity) -> Landed:
        return self.land(self.owner, acts.Revoke(member.member_id, acts.Reason.LEFT))

    # --- what people do

    def epochs(
        self, author: Identity, *fields: tuple[bytes, int], readers: Sequence[Identity] = ()
    ) -> Landed:
        """Create the next epoch of each field."""
        made = {}
        for collection, number in sorted(fields):
            newest = self.state.newest(collection, number)
            following = 1 if newest is None else newest.definition.epoch + 1
            address = Address(collection, number, following)
            made[address] = create_epoch(author, self.vault_id, address)
        payload = acts.CreateEpoch(tuple(new.definition for new in made.values()))
        return self.land(author, payload, created=made, readers=readers)

    def people(self, readers: Sequence[Identity] = ()) -> Landed:
        return self.epochs(self.owner, (PEOPLE_COLLECTION, PEOPLE_FIELD), readers=readers)

    def collection(self, *classes: FieldClass, readers: Sequence[Identity] = ()) -> bytes:
        """Define a collection, create its epochs, and commit its catalogs."""
        made = os.urandom(16)
        self.land(self.owner, acts.DefineCollection(made, classes))
        where = self.state.collections[made]
        self.epochs(self.owner, *((made, number) for number in where.fields), readers=readers)
        for number in where.catalogs:
            self.commit(self.owner, made, self.manifest(made, (number,), records=1))
        return made

    def manifest(self, collection: bytes, fields: Sequence[int], records: int = 3) -> Manifest:
        """Return a manifest whose blocks nobody looks at, under the newest epochs."""
        blocks = []
        for number in fields:
            newest = self.state.newest(collection, number)
            epoch = 1 if newest is None else newest.definition.epoch
            blocks.append(
                BlockRef(
                    number, epoch, os.urandom(16), 64 * records, os.urandom(32), Padding.UNIFORM
                )
            )
        return Manifest(os.urandom(16), records, tuple(blocks))

    def records(self, collection: bytes, records: int = 3) -> Manifest:
        count = len(self.state.collections[collection].classes)
        return self.manifest(collection, range(count), records)

    def commit(self, author: Identity, collection: bytes, *manifests: Manifest) -> Landed:
        return self.land(author, acts.Commit(os.urandom(16), collection, 0, True, manifests))

    def invite(
        self,
        inviter: Identity,
        role: Role = Role.BIDDER,
        rules: tuple[Rule, ...] = (),
        *,
        carries_data: bool = False,
        days: int = 14,
    ) -> tuple[InviteSecret, Identity]:
        secret, cited = fresh_invite_secret(), self.citation()
        expiry = self.now + days * 86_400
        identity = invite_identity(
            secret, self.vault_id, inviter.member_id, role, expiry, cited.size, cited.root
        )
        payload = acts.Invite(
            identity.card(self.vault_id),
            role,
            in_order(rules),
            carries_data,
            expiry,
            bytes(invite_access_key(secret).verify_key),
        )
        self.land(inviter, payload, cited=cited, readers=(identity,))
        return secret, identity

    def join(self, invite: Identity) -> Identity:
        newcomer = Identity.generate()
        payload = joining(newcomer, self.vault_id, invite)
        self.land(invite, payload, readers=(newcomer,))
        return newcomer

    def member(
        self,
        role: Role = Role.BIDDER,
        rules: tuple[Rule, ...] = (),
        inviter: Identity | None = None,
        days: int = 14,
    ) -> Identity:
        """Invite, join and confirm."""
        inviter = inviter or self.owner
        _, invite = self.invite(inviter, role, rules, days=days)
        newcomer = self.join(invite)
        self.land(inviter, acts.Confirm(newcomer.member_id), readers=(newcomer,))
        return newcomer

    def offer(self, buyer: Identity, days: int = 14) -> Landed:
        payload = acts.Offer(buyer.member_id, self.now + days * 86_400, self.state.roots())
        return self.land(self.owner, payload, readers=(buyer,))

    def reject(self, buyer: Identity) -> Landed:
        assert self.state.offer is not None
        return self.land(buyer, acts.Reject(self.state.offer.index, Reason.TERMS))

    def rotate(
        self, member: Identity, dealing: int | None = None, cited: Citation | None = None
    ) -> Identity:
        """Put a new identity in a member's place, the owner's too."""
        new = Identity.generate()
        self.land(
            member, rotating(new, self.vault_id, member, dealing), readers=(new,), cited=cited
        )
        if member is self.owner:
            self.owner = new
        return new

    # --- what happens to data

    def batch(self, collection: bytes, batch_id: bytes) -> Batch:
        return self.state.collections[collection].by_id()[batch_id]

    def erasure(
        self, collection: bytes, batch_id: bytes, positions: Collection[int]
    ) -> acts.Erasure:
        """Return what empties these records of a batch, whose blocks nobody looks at."""
        batch = self.batch(collection, batch_id)
        blocks = tuple(
            acts.EmptiedBlock(
                ref.field,
                ref.sha256,
                max(4 * batch.manifest.records, ref.length - 60 * len(positions)),
                os.urandom(32),
            )
            for ref in batch.manifest.blocks
        )
        return Erasure(batch_id, tuple(sorted(positions)), blocks)

    def erase(
        self, author: Identity, collection: bytes, records: Mapping[bytes, Collection[int]]
    ) -> Landed:
        erasures = (self.erasure(collection, *each) for each in sorted(records.items()))
        return self.land(author, acts.Erase(collection, Reason.REQUEST, tuple(erasures)))

    def moves(
        self, collection: bytes, *fields: int, batches: Collection[bytes] | None = None
    ) -> tuple[MovedBlock, ...]:
        """Return every current block of these fields, made anew under the newest epoch."""
        found = []
        for number in fields:
            newest = self.state.newest(collection, number)
            assert newest is not None
            for batch, ref in self.state.collections[collection].blocks(number):
                if batches is None or batch.id in batches:
                    block = replace(ref, salt=os.urandom(16), sha256=os.urandom(32))
                    block = replace(block, epoch=newest.definition.epoch)
                    found.append(MovedBlock(batch.id, ref.sha256, block))
        return tuple(found)

    def reencrypt(self, author: Identity, collection: bytes, *fields: int) -> Landed:
        """Move all blocks of these fields to their newest epochs, in one act."""
        moves = self.moves(collection, *fields)
        return self.land(author, acts.Reencrypt(os.urandom(16), collection, 0, True, moves))

    def retire(self, author: Identity, *addresses: Address) -> Landed:
        named = tuple(map(acts.EpochName.of, sorted(addresses)))
        return self.land(author, acts.RetireEpoch(named))

    # --- recovery: the ledger looks into no box

    def dealing(self, *custodians: Identity, threshold: int = 2) -> Dealing:
        points = tuple(base_mul(bytes(Scalar.reduced(os.urandom(64)))) for _ in range(threshold))
        ids = sorted(each.member_id for each in custodians)
        shares = tuple(SealedShare(each, os.urandom(SHARE_BOX_BYTES)) for each in ids)
        return Dealing(threshold, points, os.urandom(SEED_BOX_BYTES), shares)

    def deal(self, *custodians: Identity, threshold: int = 2) -> int:
        """Deal the owner's seed; return the index of the act, which names the dealing."""
        dealt = self.dealing(*custodians, threshold=threshold)
        return self.land(self.owner, acts.Custodians(dealt)).index

    def release(self, rebuilder: Identity, dealing: int | None = None) -> acts.Release:
        """Return what a custodian says to give its share of the dealing in force."""
        if dealing is None:
            assert self.state.recovery is not None
            dealing = self.state.recovery.at
        card = rebuilder.card(recovery_context(self.vault_id))
        return acts.Release(dealing, card, os.urandom(SHARE_BOX_BYTES))

    def receipts(self) -> tuple[acts.CollectionReceipt, ...]:
        return tuple(
            acts.CollectionReceipt(each.id, each.root(), each.records, each.cells)
            for _, each in sorted(self.state.collections.items())
        )

    def accept(self, buyer: Identity) -> Landed:
        assert self.state.offer is not None
        payload = acts.Accept(self.state.offer.index, self.ledger.size, self.receipts())
        return self.land(buyer, payload)


def of_class(field_class: FieldClass, collection: bytes | None = None) -> Rule:
    """Return a rule for a class, everywhere or in one collection."""
    return Rule(collection, field_class, None)


def of_field(collection: bytes, number: int) -> Rule:
    """Return a rule for one field."""
    return Rule(collection, None, number)


def in_order(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return rules in the one order in which an act lists them."""
    return tuple(sorted(set(rules), key=rule_order))


def joining(newcomer: Identity, vault_id: bytes, invite: Identity) -> acts.Join:
    """Return what a newcomer says to join a vault through an invite."""
    return acts.Join(newcomer.card(join_context(vault_id, invite.member_id)))


def rotating(
    new: Identity, vault_id: bytes, old: Identity, dealing: int | None = None
) -> acts.RotateIdentity:
    """Return what a member says to go on under a new identity."""
    return acts.RotateIdentity(new.card(rotation_context(vault_id, old.member_id)), dealing)
