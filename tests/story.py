"""A vault whose life becomes vectors: each step, what is refused on the way, every block."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from client.columns import Cells
from client.crypto.cells import ColumnToSeal, seal_batch
from client.crypto.identity import Identity
from client.crypto.invites import invite_access_key, invite_identity
from client.crypto.secrets import InviteSecret
from client.crypto.wraps import create_epoch
from protocol import acts
from protocol.acts import Citation, MovedBlock, Role, Rule, SealedShare
from protocol.blocks import (
    PEOPLE_COLLECTION,
    PEOPLE_FIELD,
    Address,
    BlockRef,
    FieldClass,
    Manifest,
    catalog_field,
)
from protocol.checkpoint import signed_message
from protocol.encoding import encode
from protocol.group import Point
from protocol.identity import recovery_context
from protocol.labels import Label, digest
from protocol.ledger import State, act_leaf, check_sides, encode_part, sides_root
from protocol.ledger.contents import PendingUpload
from protocol.ledger.holders import holders
from protocol.ledger.parties import Member
from protocol.ledger.sides import Part
from protocol.ledger.state import Recovery
from protocol.limits import LIMITS
from protocol.observations import OBSERVATION_LEAF, ObservationBody
from protocol.signing import pae
from protocol.wire import Envelope, to_bytes
from tests.dealing_by_spec import Dealt, L, release_info
from tests.fixed_draws import (
    COLLECTION,
    DAY,
    SERVER,
    Draws,
    Json,
    fixed,
    parts_of,
    person,
    refusal,
)
from tests.sealing_by_spec import emptied, opened, sealed
from tests.world import NOW, World


class Story(World):
    """A whole vault's life, with every leaf, and the leaves that were refused on the way."""

    def __init__(self, draws: Draws, policy: acts.Policy = acts.DEFAULT_POLICY) -> None:
        self.draws = draws
        self.steps: list[Json] = []
        self.refused: list[Json] = []
        self.blocks: list[Json] = []
        self.erasures: list[Json] = []
        self.contents: dict[bytes, bytes] = {}
        self.states: list[State] = []
        self.retired_at = 0
        self.dealings: list[tuple[int, Dealt, list[str]]] = []
        self.releases: list[tuple[int, acts.Release, list[str]]] = []
        self.examples: dict[str, bytes] = {}
        self.observation: Json = None
        draws.taken()
        self.people_of = {
            name: person(name)
            for name in (
                *("owner", "admin", "bidder", "auditor", "second admin", "keeper", "third keeper"),
                *("new admin", "new owner", "owner again", "rebuilder"),
            )
        }
        super().__init__(server=SERVER, owner=self.people_of["owner"], policy=policy)
        self._note("the vault begins")

    # --- landing

    def step(self, name: str, author: Identity, payload: acts.Payload, **options: Any) -> None:
        """Land an act and write down what it said, carried and did."""
        self.land(author, payload, **options)
        self._note(name)

    def observe(self, name: str, member: Identity, batch: bytes, fields: tuple[int, ...]) -> Json:
        body = to_bytes(
            ObservationBody(
                self.vault_id, member.member_id, fixed("a request's hash"), self.now, COLLECTION,
                fields, (batch,),
            )
        )  # fmt: skip
        signature = self.server.sign(pae(Label.OBSERVATION, body)).signature
        envelope = to_bytes(Envelope(Label.OBSERVATION, body, signature))
        salt = fixed("an observation's salt")
        index = self.ledger.size
        leaf = bytes((OBSERVATION_LEAF,)) + digest(Label.OBSERVATION_LEAF, salt, envelope)
        self.land_leaf(leaf, ())
        self._note(name)
        return {
            "index": index,
            "salt": salt.hex(),
            "body": body.hex(),
            "envelope": envelope.hex(),
            "leaf": leaf.hex(),
        }

    def _note(self, name: str) -> None:
        leaf, sides = self.leaves[-1]
        self.states.append(self.state)
        landed = self.ledger.size - 1
        if leaf[0] == 1:
            _, act = acts.parse_envelope(leaf[1:])
            self.examples.setdefault(act.kind, leaf[1:])
        self.steps.append(
            {
                "name": name,
                "index": landed,
                "drawn": self.draws.taken(),
                "leaf": leaf.hex(),
                "sides": [part.hex() for part in sides],
                "root": self.ledger.tree.root().hex(),
                "state": summary(self.state),
            }
        )

    # --- refusing

    def refuse(
        self,
        name: str,
        author: Identity,
        payload: acts.Payload,
        code: str,
        *,
        sides: Sequence[bytes] | None = None,
        **changes: Any,
    ) -> None:
        """Sign an act that must be refused here, and write it down with the reason."""
        act = replace(self.draft(author, payload), **changes)
        if sides is not None:
            act = replace(act, sides_root=changes.get("sides_root", sides_root(sides)))
        self.refuse_leaf(name, act_leaf(self.signed(author, act)), code, sides or ())

    def refuse_leaf(self, name: str, leaf: bytes, code: str, sides: Sequence[bytes] = ()) -> None:
        before = self.ledger.size, self.state

        def land() -> None:
            landed = self.ledger.check(leaf)
            assert landed.act is not None
            assert landed.before is not None
            check_sides(landed.before, landed.after, landed.act, sides, self.wraps)

        found = refusal(land)
        assert found == code, (name, found)
        assert before == (self.ledger.size, self.state)
        self.draws.taken()
        self.refused.append(
            {
                "name": name,
                "after": self.ledger.size,
                "leaf": leaf.hex(),
                "sides": [part.hex() for part in sides],
                "error": code,
            }
        )

    # --- payloads

    def invited(
        self, name: str, inviter: Identity, role: Role, rules: tuple[Rule, ...] = (), **other: Any
    ) -> tuple[Identity, acts.Invite]:
        cited = self.citation()
        secret = InviteSecret(fixed(f"the link for {name}"))
        expiry = other.pop("expiry", self.now + 14 * DAY)
        identity = invite_identity(
            secret, self.vault_id, inviter.member_id, role, expiry, cited.size, cited.root
        )
        access = bytes(invite_access_key(secret).verify_key)
        payload = acts.Invite(
            identity.card(self.vault_id), role, rules, other.pop("data", False), expiry, access
        )
        return identity, payload

    def next_epochs(self, author: Identity, *fields: tuple[bytes, int]) -> Mapping[str, Any]:
        made = {}
        for collection, number in sorted(fields):
            newest = self.state.newest(collection, number)
            following = 1 if newest is None else newest.definition.epoch + 1
            address = Address(collection, number, following)
            made[address] = create_epoch(author, self.vault_id, address)
        payload = acts.CreateEpoch(tuple(new.definition for new in made.values()))
        return {"payload": payload, "created": made}

    def sealed(
        self, author: Identity, collection: bytes, columns: Mapping[int, Sequence[bytes | None]]
    ) -> Manifest:
        where = self.state.collections[collection]
        made = []
        for number, values in columns.items():
            newest = self.state.newest(collection, number)
            assert newest is not None
            address = newest.definition.address
            key = self.key(author, address)
            column = Cells.from_list(list(values), string_like=True)
            made.append(ColumnToSeal(number, address.epoch, where.class_of(number), key, column))
        batch = seal_batch(made)
        for ref, block in zip(batch.manifest.blocks, batch.blocks, strict=True):
            self._keep(collection, batch.manifest.batch_id, ref, block, columns[ref.field], ())
        return batch.manifest

    def key(self, holder: Identity, address: Address) -> bytes:
        return self.opened[holder.member_id][address].key.expose()

    def _keep(
        self,
        collection: bytes,
        batch_id: bytes,
        ref: BlockRef,
        block: bytes,
        values: Sequence[bytes | None],
        erased: Collection[int],
    ) -> None:
        self.contents[ref.sha256] = block
        self.blocks.append(
            {
                "collection": collection.hex(),
                "batch": batch_id.hex(),
                "field": ref.field,
                "epoch": ref.epoch,
                "sha256": ref.sha256.hex(),
                "block": block.hex(),
                "values": [None if v is None else v.hex() for v in values],
                "erased": sorted(erased),
            }
        )

    def values(self, batch_id: bytes, ref: BlockRef, gone: Collection[int]) -> list[bytes | None]:
        """Return what a block holds, without the cells at these positions."""
        place = (batch_id.hex(), ref.field, ref.sha256.hex())
        kept = next(e for e in self.blocks if (e["batch"], e["field"], e["sha256"]) == place)
        return [
            None if v is None or i in gone else bytes.fromhex(v)
            for i, v in enumerate(kept["values"])
        ]

    def erasure(
        self, collection: bytes, batch_id: bytes, positions: Collection[int]
    ) -> acts.Erasure:
        """Return what empties these records, block by block as they really are."""
        batch = self.batch(collection, batch_id)
        gone = batch.erased | set(positions)
        made = []
        for ref in batch.manifest.blocks:
            block = self.contents[ref.sha256]
            left = emptied(block, batch.manifest.records, sorted(gone))
            after = replace(ref, length=len(left), sha256=hashlib.sha256(left).digest())
            made.append(acts.EmptiedBlock(ref.field, ref.sha256, after.length, after.sha256))
            self._keep(collection, batch_id, after, left, self.values(batch_id, ref, gone), gone)
        return acts.Erasure(batch_id, tuple(sorted(positions)), tuple(made))

    def moved(
        self, author: Identity, collection: bytes, *fields: int, batches: Collection[bytes] = ()
    ) -> tuple[MovedBlock, ...]:
        """Seal the blocks of these fields anew under their newest epochs."""
        where, made = self.state.collections[collection], []
        for batch, ref in (each for number in fields for each in where.blocks(number)):
            newest = self.state.newest(collection, ref.field)
            assert newest is not None
            if ref.epoch == newest.definition.epoch or (batches and batch.id not in batches):
                continue
            new = replace(ref, epoch=newest.definition.epoch)
            old_key, key = (
                self.key(author, Address(collection, each.field, each.epoch)) for each in (ref, new)
            )
            records, block = batch.manifest.records, self.contents[ref.sha256]
            cells = opened(old_key, batch.id, ref.salt, records, block)
            salt, sealed_anew = sealed(key, batch.id, cells, secrets.token_bytes(32))
            sha256 = hashlib.sha256(sealed_anew).digest()
            new = replace(new, salt=salt, length=len(sealed_anew), sha256=sha256)
            values = self.values(batch.id, ref, batch.erased)
            self._keep(collection, batch.id, new, sealed_anew, values, batch.erased)
            made.append(MovedBlock(batch.id, ref.sha256, new))
        return tuple(made)

    def dealt(self, *custodians: Identity, threshold: int = 2) -> Dealt:
        """Draw a dealing of the owner's seed, as a client does: first the a, then the b."""
        wide = [secrets.token_bytes(64) for _ in range(2 * threshold)]
        drawn = tuple(int.from_bytes(each, "little") % L for each in wide)
        ids = tuple(sorted(each.member_id for each in custodians))
        a, b = drawn[:threshold], drawn[threshold:]
        return Dealt(self.vault_id, self.owner.member_id, ids, a, b)

    def in_boxes(self, dealt: Dealt) -> acts.Dealing:
        """Return a dealing as it travels."""
        shares = tuple(
            SealedShare(
                custodian,
                self.draws.seal_box(
                    self.state.members[custodian].identity,
                    dealt.share(place),
                    dealt.share_info(place),
                ),
            )
            for place, custodian in enumerate(dealt.custodians, 1)
        )
        return acts.Dealing(
            len(dealt.a),
            tuple(map(Point.from_bytes, dealt.commitments)),
            dealt.seed_box(self.owner.seed.expose()),
            shares,
        )

    def releasing(
        self, custodian: Identity, dealt: Dealt, at: int, rebuilder: Identity
    ) -> acts.Release:
        """Return what a custodian says to give its share."""
        share = dealt.share(dealt.custodians.index(custodian.member_id) + 1)
        info = release_info(self.vault_id, at, custodian.member_id, rebuilder.member_id)
        card = rebuilder.card(recovery_context(self.vault_id))
        return acts.Release(at, card, self.draws.seal_box(rebuilder.public, share, info))

    # --- what is written down in the end

    def shown(self) -> list[Json]:
        """Return the blocks that were ever current, each with the leaves between which it was."""
        found = []
        for kept in self.blocks:
            where, batch = bytes.fromhex(kept["collection"]), bytes.fromhex(kept["batch"])
            current = [
                at for at, state in enumerate(self.states) if _lies(state, where, batch, kept)
            ]
            if current:
                later = current[-1] + 1
                until = later if later < len(self.states) else None
                found.append({**kept, "since": current[0], "until": until})
        return found


def _lies(state: State, collection: bytes, batch_id: bytes, kept: Json) -> bool:
    where = state.collections.get(collection)
    batch = None if where is None else where.by_id().get(batch_id)
    refs = () if batch is None else batch.manifest.blocks
    place = (kept["field"], kept["epoch"], kept["sha256"])
    return any((ref.field, ref.epoch, ref.sha256.hex()) == place for ref in refs)


def summary(state: State) -> Json:
    """Say all that an implementation has to agree on after a leaf."""
    return {
        "size": state.size,
        "control_head": state.control_head,
        "head_time": state.head_time,
        "phase": state.phase.value,
        "policy": to_bytes(state.policy).hex(),
        "owner": state.owner.hex(),
        "members": [_member(each) for each in state.members.values()],
        "invites": [{"id": i.id.hex(), "status": i.status.value} for i in state.invites.values()],
        "numbers": {author.hex(): number for author, number in sorted(state.numbers.items())},
        "collections": [
            {
                "id": each.id.hex(),
                "classes": [int(c) for c in each.classes],
                "records": each.records,
                "cells": each.cells,
                "root": each.root().hex(),
                "erased": {b.id.hex(): sorted(b.erased) for b in each.batches if b.erased},
            }
            for _, each in sorted(state.collections.items())
        ],
        "retired_collections": sorted(each.hex() for each in state.retired),
        "epochs": [
            {
                "address": epoch.definition.address.encode().hex(),
                "tainted": epoch.tainted,
                "retired": epoch.retired,
                "creator": epoch.creator.hex(),
            }
            for _, known in sorted(state.epochs.items())
            for epoch in known
        ],
        "holders": [
            {
                "collection": each.id.hex(),
                "field": number,
                "holders": [party.hex() for party in holders(state, each.id, number)],
            }
            for _, each in sorted(state.collections.items())
            for number in each.fields
        ],
        "pending": {
            upload.hex(): "commit" if isinstance(each, PendingUpload) else "re-encrypt"
            for upload, each in sorted(state.pending.items())
        },
        "uploads": sorted(upload.hex() for upload in state.uploads),
        "offer": None if state.offer is None else state.offer.index,
        "handovers": len(state.handovers),
        "recovery": None if state.recovery is None else _recovery(state.recovery),
        "attested": sorted([who.hex(), said.value] for who, said in state.attested),
    }


def _member(member: Member) -> Json:
    return {
        "id": member.id.hex(),
        "role": member.role.value,
        "status": member.status.value,
        "rules": [to_bytes(rule).hex() for rule in member.rules],
        "planned": [to_bytes(rule).hex() for rule in member.planned],
        "kept": [address.encode().hex() for address in sorted(member.kept)],
        "predecessor": None if member.predecessor is None else member.predecessor.hex(),
        "removed_at": member.removed_at,
    }


def _recovery(recovery: Recovery) -> Json:
    return {
        "dealing": recovery.at,
        "owner": recovery.owner.hex(),
        "released": [[each.custodian.hex(), each.rebuilder.hex()] for each in recovery.released],
        "rebuilt": recovery.rebuilt,
    }


PEOPLE: Final = (PEOPLE_COLLECTION, PEOPLE_FIELD)
GENERAL, CORE = FieldClass.GENERAL, FieldClass.CORE
NAMES_0, NAMES_2 = catalog_field(GENERAL), catalog_field(CORE)


def everywhere(field_class: FieldClass) -> Rule:
    return Rule(None, field_class, None)


def commit(
    upload: str, part: int, last: bool, *listed: Manifest, to: bytes = COLLECTION
) -> acts.Commit:
    return acts.Commit(fixed(f"upload {upload}", 16), to, part, last, listed)


def larger_than_a_batch(body: bytes) -> bytes:
    """Return a commit's body with blocks that are each within the limit, and not together."""
    *head, payload, sides_root = parts_of(body)
    *before, (manifest, *others) = payload
    batch_id, records, (ref, *_) = manifest
    field, epoch, salt, _, sha256, padding = ref
    blocks = tuple((field + i, epoch, salt, LIMITS.block_bytes, sha256, padding) for i in range(5))
    changed = (*before, ((batch_id, records, blocks), *others))
    return encode((*head, changed, sides_root))


def encoded(*parts: Part) -> tuple[bytes, ...]:
    return tuple(map(encode_part, parts))


def enveloped(author: Identity, body: bytes) -> bytes:
    return act_leaf(to_bytes(Envelope(Label.ACT, body, author.sign(pae(Label.ACT, body)))))


def citing(story: Story, size: int, root: bytes, time: int = NOW) -> Citation:
    signature = SERVER.sign(signed_message(story.vault_id, size, root, time)).signature
    return Citation(size, root, time, signature)


def unseen(
    story: Story,
    author: Identity,
    columns: Mapping[int, Sequence[bytes | None]] = MappingProxyType({0: [b"Oslo"], 1: [b"NO93"]}),
    to: bytes = COLLECTION,
) -> Manifest:
    """Seal a record under the newest epochs, for an act that may be refused."""
    manifest = story.sealed(author, to, columns)
    story.draws.taken()
    return manifest
