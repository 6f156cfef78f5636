"""Making and opening wraps: the secret half of `protocol.rewrap` and `protocol.ledger.sides`.

Everything here follows SPEC section 6: the first wrap of a new key, the rewrap to another
member with its proof, the box of key shares, and what a recipient checks before it uses a key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from client.crypto.identity import Identity, seal_box
from client.crypto.keys import (
    confirmed_field_key,
    derive_field_key,
    fresh_group_key,
    fresh_share,
    key_confirmation,
    share_hash,
)
from client.crypto.proving import hedged_scalar, prove
from client.crypto.secrets import FieldKey, Share
from protocol.acts import Act, EpochDefinition
from protocol.blocks import Address
from protocol.errors import IntegrityError, NotAuthorised
from protocol.group import Point, base_mul, mul
from protocol.identity import PublicIdentity
from protocol.ledger.sides import (
    SHARE_BYTES,
    BoxPart,
    CheckedSides,
    Entry,
    WrapsPart,
    WrapTable,
    box_info,
    encode_part,
    part_hash,
    required_entries,
)
from protocol.ledger.state import State
from protocol.rewrap import RewrapStatement, Wrap


@dataclass(frozen=True, slots=True, repr=False)
class NewEpoch:
    """A field key at its creation: what is published, and what its creator keeps for a moment."""

    definition: EpochDefinition
    first_wrap: Wrap
    share: Share


def create_epoch(identity: Identity, vault_id: bytes, address: Address) -> NewEpoch:
    """Make a field key and its commitments; the creator's own wrap binds K (SPEC section 5).

    The scalar k of K = k·G is forgotten at once. The confirmation is derived from the wrap
    that is published, so a creator cannot confirm a key that its own wrap does not hold.
    """
    group_key, share = fresh_group_key(), fresh_share()
    scalar = bytes(hedged_scalar(identity.seed, vault_id, address.encode()))
    wrap = Wrap(base_mul(scalar), group_key + mul(scalar, identity.public.rewrap_key))
    key = derive_field_key(vault_id, address, unwrap(identity, wrap), share)
    definition = EpochDefinition(
        address.collection, address.field, address.epoch, share_hash(share), key_confirmation(key)
    )
    return NewEpoch(definition, wrap, share)


def unwrap(identity: Identity, wrap: Wrap) -> Point:
    """Return K = C - p·R. Whether it is the published K, only the key confirmation tells."""
    return wrap.masked - mul(identity.rewrap_scalar.expose(), wrap.ephemeral)


def rewrap(
    identity: Identity,
    act: Act,
    address: Address,
    hash_of_share: bytes,
    source: Wrap,
    recipient: PublicIdentity,
) -> Entry:
    """Wrap the key that `source` holds for another member, with the proof (SPEC section 6)."""
    context = (act.vault_id, address.encode(), recipient.member_id, bytes(source))
    scalar = bytes(hedged_scalar(identity.seed, *context))
    # In this order it needs no K: a member that moves on passes even the identity to itself.
    masked = source.masked + mul(scalar, recipient.rewrap_key)
    mask = mul(identity.rewrap_scalar.expose(), source.ephemeral)
    wrap = Wrap(base_mul(scalar), masked - mask)
    statement = RewrapStatement(
        act.vault_id, act.kind, address, hash_of_share, identity.public, source, recipient, wrap
    )
    witness = (identity.rewrap_scalar.expose(), scalar)
    return Entry(recipient.member_id, wrap, prove(statement.relation(), witness, identity.seed))


def make_sides(
    identity: Identity,
    act: Act,
    before: State,
    after: State,
    *,
    on_record: WrapTable,
    shares: Mapping[Address, Share],
    created: Mapping[Address, NewEpoch] | None = None,
) -> tuple[bytes, ...]:
    """Return the encoded parts that `act` must carry, for exactly whom it must (SPEC section 6.3).

    `on_record` holds the author's own wraps, `shares` the shares it opened, `created` the
    epochs that the act itself creates. The act's `sides_root` is not looked at: it is the
    root of what this returns.

    Raises:
        NotAuthorised: the author lacks a key that it would have to pass on.
    """
    created = created or {}
    entries: dict[Address, dict[bytes, Entry]] = {}
    needed = required_entries(before, after, act)
    for party_id in sorted(needed):
        for address in needed[party_id]:
            entries.setdefault(address, {})[party_id] = _entry(
                identity, act, after, address, party_id, on_record, created
            )
    wraps = {
        a: encode_part(WrapsPart(a.collection, a.field, a.epoch, tuple(entries[a].values())))
        for a in sorted(entries)
    }
    known = {**shares, **{address: epoch.share for address, epoch in created.items()}}
    boxes = [
        _box(identity, act, after, party_id, needed[party_id], wraps, known)
        for party_id in sorted(needed)
    ]
    return (*wraps.values(), *map(encode_part, boxes))


def _entry(
    identity: Identity,
    act: Act,
    after: State,
    address: Address,
    party_id: bytes,
    on_record: WrapTable,
    created: Mapping[Address, NewEpoch],
) -> Entry:
    new = created.get(address)
    source = new.first_wrap if new else on_record.get((address, identity.member_id))
    if source is None:
        raise NotAuthorised(f"you hold no key of {address} to pass on")
    if new and party_id == identity.member_id:
        return Entry(party_id, source, b"")
    recipient = after.enrolled(party_id).identity
    hash_of_share = after.published(address).share_hash
    return rewrap(identity, act, address, hash_of_share, source, recipient)


def _box(
    identity: Identity,
    act: Act,
    after: State,
    party_id: bytes,
    addresses: Sequence[Address],
    wraps: Mapping[Address, bytes],
    shares: Mapping[Address, Share],
) -> BoxPart:
    listed = []
    for address in addresses:
        if address not in shares:
            raise NotAuthorised(f"you hold no key share of {address} to pass on")
        published = after.published(address)
        listed.append((address, published.share_hash, part_hash(wraps[address])))
    info = box_info(act.vault_id, act.kind, identity.member_id, party_id, listed)
    plaintext = b"".join(shares[address].expose() for address in addresses)
    return BoxPart(party_id, seal_box(after.enrolled(party_id).identity, plaintext, info))


@dataclass(frozen=True, slots=True, repr=False)
class OpenedKey:
    """A field key that passed every check, with the share that its holder may pass on."""

    share: Share
    key: FieldKey


def open_keys(
    identity: Identity, state: State, checked: CheckedSides, only: Address | None = None
) -> dict[Address, OpenedKey]:
    """Open what an act's checked sides hold for this identity (SPEC section 6.3).

    Of epochs whose wraps are gone, because they were retired, nothing is returned. With `only`,
    no other key of the box is looked at.

    (1) The box opens under its context; (2) each share has the hash published at creation;
    (3) the key derived from share and unwrapped K gives the published confirmation. That the
    wrap holds the epoch's K was proved before, by `check_sides`.

    Raises:
        IntegrityError: (1), the box does not open.
        CommitmentMismatch: (2) or (3); the message names the epoch, nothing is returned.
        WeakKey: (3), the wrap holds the identity for a key.
    """
    found = checked.boxes.get(identity.member_id)
    if found is None:
        return {}
    # (1)
    plaintext = identity.open_box(found.box, found.info)
    if len(plaintext) != SHARE_BYTES * len(found.addresses):
        raise IntegrityError("a box of key shares did not open")
    opened: dict[Address, OpenedKey] = {}
    for i, address in enumerate(found.addresses):
        wrap = checked.wraps.get((address, identity.member_id))
        if wrap is None or only not in (None, address):
            continue
        share = Share(plaintext[SHARE_BYTES * i : SHARE_BYTES * (i + 1)])
        published = state.published(address)
        # (2) and (3)
        key = confirmed_field_key(
            state.vault_id,
            address,
            unwrap(identity, wrap),
            share,
            published_share_hash=published.share_hash,
            published_confirmation=published.confirmation,
        )
        opened[address] = OpenedKey(share, key)
    return opened
