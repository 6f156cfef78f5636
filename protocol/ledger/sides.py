"""An act's sides: wraps with proofs, and boxes of key shares (SPEC section 6.3).

Sides travel beside the act, which signs the RFC 6962 root over their parts; so those of a
retired epoch can be deleted, their leaf hashes left, and the log still replays. The server
checks them before it appends; every client checks them again with the same code. Which entries
there must be follows from the states before and after the act: short or long by one is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from protocol import acts
from protocol.acts import Act, Id16, Id32
from protocol.blocks import Address
from protocol.errors import ContextMismatch, LimitExceeded, MalformedMessage, NotAuthorised
from protocol.identity import HPKE_ENC_BYTES, HPKE_TAG_BYTES
from protocol.labels import Label, digest
from protocol.ledger.holders import holders, newly_held
from protocol.ledger.state import State
from protocol.ledger.transitions import TRANSITIONS, Sides
from protocol.limits import LIMITS
from protocol.merkle import leaf_hash, root_of
from protocol.rewrap import REWRAP_PROOF_BYTES, WRAP_BYTES, RewrapStatement, Wrap, verify_rewrap
from protocol.wire import Blob, Choice, ListOf, Parsed, Uint, from_bytes, record, to_bytes

SHARE_BYTES: Final = 32


@record
class Entry:
    """One wrap for one recipient; the proof is empty only in a creator's own first wrap."""

    recipient: Id32
    wrap: Annotated[Wrap, Parsed(bytes, Wrap.from_bytes, WRAP_BYTES)]
    proof: Annotated[bytes, Blob(REWRAP_PROOF_BYTES)]


@record
class WrapsPart:
    """All entries of one epoch in one act, by recipient."""

    collection: Id16
    field: Annotated[int, Uint(0xFFFF)]
    epoch: Annotated[int, Uint(LIMITS.epochs, 1)]
    entries: Annotated[tuple[Entry, ...], ListOf(Entry, LIMITS.members + LIMITS.open_invites, 1)]

    @property
    def address(self) -> Address:
        """The epoch whose key is wrapped."""
        return Address(self.collection, self.field, self.epoch)


@record
class BoxPart:
    """All key shares of one act for one recipient: 32 bytes each, ascending by address, in HPKE."""

    recipient: Id32
    box: Annotated[bytes, Blob(HPKE_ENC_BYTES + HPKE_TAG_BYTES + SHARE_BYTES * LIMITS.epochs)]


@record
class _Part:
    part: Annotated[WrapsPart | BoxPart, Choice({"wraps": WrapsPart, "box": BoxPart})]


Part = WrapsPart | BoxPart
WrapTable = Mapping[tuple[Address, bytes], Wrap]
"""The wraps on record: (address, party id) to wrap."""


def encode_part(part: Part) -> bytes:
    """Return the one encoding of a part."""
    return to_bytes(_Part(part))


def parse_part(encoded: bytes) -> Part:
    """Parse one part.

    Raises:
        MalformedMessage, LimitExceeded, WeakKey: not the one encoding of a part.
    """
    return from_bytes(_Part, encoded, max_bytes=LIMITS.sides_bytes).part


@dataclass(frozen=True, slots=True)
class Gone:
    """A part that was deleted when its epochs were retired: its leaf hash, 32 bytes, is left."""

    digest: bytes


SentPart = bytes | Gone
"""A part as somebody sends it: its encoding, or what is left of it."""


def part_hash(part: SentPart) -> bytes:
    """Return a part's RFC 6962 leaf hash."""
    return part.digest if isinstance(part, Gone) else leaf_hash(part)


def sides_root(parts: Sequence[SentPart]) -> bytes | None:
    """Return the root that an act signs over its parts; None where it has none."""
    return root_of([part_hash(part) for part in parts]) if parts else None


def box_info(
    vault_id: bytes,
    kind: str,
    author: bytes,
    recipient: bytes,
    shares: Sequence[tuple[Address, bytes, bytes]],
) -> bytes:
    """Return the HPKE `info` of a box: a hash of vault, kind, both ids and all that it goes with.

    `shares` are (address, share hash, leaf hash of the address's wraps part), ascending by
    address. The leaf hash binds every entry, and outlives them.
    """
    parts = [vault_id, kind.encode(), author, recipient]
    parts += [address.encode() + published + wraps for address, published, wraps in shares]
    return digest(Label.SHARE_BOX, *parts)


def required_entries(before: State, after: State, act: Act) -> dict[bytes, tuple[Address, ...]]:
    """Return exactly which epochs an act must carry for whom (SPEC section 6.3)."""
    sides = TRANSITIONS[type(act.payload)].sides
    payload = act.payload
    needed: dict[bytes, tuple[Address, ...]] = {}
    if sides is Sides.HOLDERS and isinstance(payload, acts.CreateEpoch):
        for definition in payload.epochs:
            for party in holders(after, definition.collection, definition.field):
                needed[party] = (*needed.get(party, ()), definition.address)
    elif sides is Sides.BUYER and isinstance(payload, acts.Offer):
        needed[payload.buyer] = after.live_addresses()
    elif sides is Sides.MEMBER:
        party = _subject(payload)
        needed[party] = newly_held(before, after, party)
    return {party: addresses for party, addresses in needed.items() if addresses}


@dataclass(frozen=True, slots=True)
class RequiredPart:
    """One part that an act must carry: wraps of one epoch for some, or one box of shares."""

    addresses: tuple[Address, ...]
    recipients: tuple[bytes, ...]
    is_box: bool


def required_parts(needed: Mapping[bytes, tuple[Address, ...]]) -> tuple[RequiredPart, ...]:
    """Return, in their order, the parts that hold exactly these entries (SPEC section 6.3)."""
    by_address: dict[Address, list[bytes]] = {}
    for party in sorted(needed):
        for address in needed[party]:
            by_address.setdefault(address, []).append(party)
    wraps = (RequiredPart((each,), tuple(by_address[each]), False) for each in sorted(by_address))
    boxes = (RequiredPart(needed[party], (party,), True) for party in sorted(needed))
    return (*wraps, *boxes)


@dataclass(frozen=True, slots=True)
class SharesBox:
    """One recipient's box with its context, and the epochs whose shares are in it, in order."""

    box: bytes
    info: bytes
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class CheckedSides:
    """Sides that passed: the wraps to put on record, and each recipient's box.

    `gone` are epochs of which a part is gone: whoever checks a whole log owes that each of them
    is retired by its end.
    """

    wraps: dict[tuple[Address, bytes], Wrap]
    boxes: dict[bytes, SharesBox]
    gone: frozenset[Address] = frozenset()


def check_sides(
    before: State,
    after: State,
    act: Act,
    sent: Sequence[SentPart],
    on_record: WrapTable,
    gone: Collection[Address] = (),
) -> CheckedSides:
    """Check everything an act carries beside it (SPEC section 6.3).

    (1) The parts are those that the act signed; (2) they are exactly the entries that the
    act must carry, in order; (3) each wrap is proved to hold the key that the author's own
    wrap holds, or is the creator's own of an epoch that this act creates; (4) each recipient
    has one box of the right size. What is in a box only its recipient can check.

    Of a part that is gone, (1) is checked, and that there had to be one. Wraps of the epochs in
    `gone`, of which earlier parts are missing, are not proved and not put on record.

    Raises:
        ContextMismatch: (1), the parts of another act.
        NotAuthorised: (2) or (3), an entry missing, one too many, or no wrap of the author's.
        IntegrityError: (3), a proof does not verify.
        MalformedMessage, LimitExceeded, WeakKey: not the one encoding, or too much of it.
    """
    # (1)
    there = [part for part in sent if isinstance(part, bytes)]
    if len(sent) > LIMITS.side_parts or sum(map(len, there)) > LIMITS.sides_bytes:
        raise LimitExceeded("more sides than an act may carry")
    if sides_root(sent) != act.sides_root:
        raise ContextMismatch("the sides are not those that the act's author signed")
    parts = [parse_part(part) for part in there]
    # (2)
    required = required_parts(required_entries(before, after, act))
    _check_exact(parts, sent, required)
    # (3)
    missing = {
        address
        for part, wanted in zip(sent, required, strict=True)
        if isinstance(part, Gone)
        for address in wanted.addresses
    }
    wraps: dict[tuple[Address, bytes], Wrap] = {}
    for part in parts:
        if isinstance(part, WrapsPart) and part.address in gone:
            missing.add(part.address)
        elif isinstance(part, WrapsPart):
            _check_wraps(after, act, part, on_record)
            wraps |= {(part.address, entry.recipient): entry.wrap for entry in part.entries}
    # (4)
    hashes = {
        wanted.addresses[0]: part_hash(part)
        for part, wanted in zip(sent, required, strict=True)
        if not wanted.is_box
    }
    held = {wanted.recipients[0]: wanted.addresses for wanted in required if wanted.is_box}
    boxes = {
        box.recipient: _checked_box(after, act, box, held[box.recipient], hashes)
        for box in parts
        if isinstance(box, BoxPart)
    }
    return CheckedSides(wraps, boxes, frozenset(missing))


def _check_exact(
    parts: Sequence[Part], sent: Sequence[SentPart], required: Sequence[RequiredPart]
) -> None:
    # What is gone cannot be looked at; it has its place, and the rest must be what is due there.
    due = [wanted for part, wanted in zip(sent, required, strict=False) if isinstance(part, bytes)]
    wraps = [part for part in parts if isinstance(part, WrapsPart)]
    boxes = [part for part in parts if isinstance(part, BoxPart)]
    found = [
        *(((part.address,), tuple(e.recipient for e in part.entries), False) for part in wraps),
        *((None, (box.recipient,), True) for box in boxes),
    ]
    wanted = [
        (None if each.is_box else each.addresses, each.recipients, each.is_box) for each in due
    ]
    if len(sent) != len(required) or found != wanted:
        raise NotAuthorised(
            "the act's keys are not for exactly the members entitled to them",
            hint="The members changed meanwhile: look again, and try again.",
        )
    if [*wraps, *boxes] != list(parts):
        raise MalformedMessage("the parts of an act's sides are out of order")


def _check_wraps(after: State, act: Act, part: WrapsPart, on_record: WrapTable) -> None:
    address = part.address
    own = [entry for entry in part.entries if _is_first_wrap(act, entry)]
    source = own[0].wrap if own else on_record.get((address, act.author))
    if source is None:
        raise NotAuthorised(f"the author holds no key of {address} to pass on")
    for entry in part.entries:
        if _is_first_wrap(act, entry):
            if entry.proof:
                raise MalformedMessage("a creator's own wrap has no proof")
            continue
        statement = RewrapStatement(
            act.vault_id,
            act.kind,
            address,
            after.published(address).share_hash,
            after.enrolled(act.author).identity,
            source,
            after.enrolled(entry.recipient).identity,
            entry.wrap,
        )
        verify_rewrap(statement, entry.proof)


def _checked_box(
    after: State,
    act: Act,
    box: BoxPart,
    addresses: tuple[Address, ...],
    hashes: Mapping[Address, bytes],
) -> SharesBox:
    if len(box.box) != HPKE_ENC_BYTES + HPKE_TAG_BYTES + SHARE_BYTES * len(addresses):
        raise MalformedMessage("a box of another size than its shares")
    shares = [(each, after.published(each).share_hash, hashes[each]) for each in addresses]
    info = box_info(act.vault_id, act.kind, act.author, box.recipient, shares)
    return SharesBox(box.box, info, addresses)


def _is_first_wrap(act: Act, entry: Entry) -> bool:
    return isinstance(act.payload, acts.CreateEpoch) and entry.recipient == act.author


def _subject(payload: Any) -> bytes:
    """Return the party that an act of one subject (Sides.MEMBER) is about."""
    if isinstance(payload, acts.Invite | acts.Join | acts.RotateIdentity):
        return payload.card.identity.member_id
    member: bytes = payload.member
    return member
