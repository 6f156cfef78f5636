"""An act's sides: wraps with proofs, and boxes of key shares (SPEC section 6.3).

Sides travel beside the act, which signs the RFC 6962 root over their parts; so those of a
retired epoch can be deleted and the log still replays. The server checks them before it
appends; every client checks them again with the same code. Which entries there must be
follows from the states before and after the act: short or long by one is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from protocol import acts
from protocol.acts import Act, Id16, Id32
from protocol.blocks import Address
from protocol.errors import ContextMismatch, LimitExceeded, MalformedMessage, NotAuthorised
from protocol.labels import Label, digest
from protocol.ledger.holders import holders, newly_held
from protocol.ledger.state import State
from protocol.ledger.transitions import TRANSITIONS, Sides
from protocol.limits import LIMITS
from protocol.merkle import leaf_hash, root_of
from protocol.rewrap import REWRAP_PROOF_BYTES, WRAP_BYTES, RewrapStatement, Wrap, verify_rewrap
from protocol.wire import Blob, Choice, ListOf, Parsed, Uint, from_bytes, record, to_bytes

HPKE_ENC_BYTES: Final = 1120
HPKE_TAG_BYTES: Final = 16
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


def sides_root(parts: Sequence[bytes]) -> bytes | None:
    """Return the root that an act signs over its parts; None where it has none."""
    return root_of([leaf_hash(part) for part in parts]) if parts else None


def box_info(
    vault_id: bytes,
    kind: str,
    author: bytes,
    recipient: bytes,
    entries: Sequence[tuple[Address, bytes, Entry]],
) -> bytes:
    """Return the HPKE `info` of a box: a hash of vault, kind, both ids and every entry.

    `entries` are (address, share hash, entry), ascending by address.
    """
    parts = [vault_id, kind.encode(), author, recipient]
    for address, share_hash, entry in entries:
        parts.append(address.encode() + share_hash + bytes(entry.wrap) + entry.proof)
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
class CheckedSides:
    """Sides that passed: the wraps to put on record, and each recipient's box with its info."""

    wraps: dict[tuple[Address, bytes], Wrap]
    boxes: dict[bytes, tuple[bytes, bytes, tuple[Address, ...]]]


def check_sides(
    before: State, after: State, act: Act, encoded: Sequence[bytes], on_record: WrapTable
) -> CheckedSides:
    """Check everything an act carries beside it (SPEC section 6.3).

    (1) The parts are those that the act signed; (2) they are exactly the entries that the
    act must carry, in order; (3) each wrap is proved to hold the key that the author's own
    wrap holds, or is the creator's own of an epoch that this act creates; (4) each recipient
    has one box of the right size. What is in a box only its recipient can check.

    Raises:
        ContextMismatch: (1), the parts of another act.
        NotAuthorised: (2) or (3), an entry missing, one too many, or no wrap of the author's.
        IntegrityError: (3), a proof does not verify.
        MalformedMessage, LimitExceeded, WeakKey: not the one encoding, or too much of it.
    """
    # (1)
    if len(encoded) > LIMITS.side_parts or sum(map(len, encoded)) > LIMITS.sides_bytes:
        raise LimitExceeded("more sides than an act may carry")
    if sides_root(encoded) != act.sides_root:
        raise ContextMismatch("the sides are not those that the act's author signed")
    parts = [parse_part(part) for part in encoded]
    wraps = [part for part in parts if isinstance(part, WrapsPart)]
    boxes = [part for part in parts if isinstance(part, BoxPart)]
    # (2)
    needed = required_entries(before, after, act)
    _check_exact(parts, wraps, boxes, needed)
    # (3)
    checked = CheckedSides({}, {})
    for part in wraps:
        _check_wraps(after, act, part, on_record, checked)
    # (4)
    by_place = {(part.address, e.recipient): e for part in wraps for e in part.entries}
    for box in boxes:
        addresses = needed[box.recipient]
        if len(box.box) != HPKE_ENC_BYTES + HPKE_TAG_BYTES + SHARE_BYTES * len(addresses):
            raise MalformedMessage("a box of another size than its shares")
        info = box_info(
            act.vault_id,
            act.kind,
            act.author,
            box.recipient,
            [(a, after.published(a).share_hash, by_place[a, box.recipient]) for a in addresses],
        )
        checked.boxes[box.recipient] = (box.box, info, addresses)
    return checked


def _check_exact(
    parts: Sequence[Part],
    wraps: Sequence[WrapsPart],
    boxes: Sequence[BoxPart],
    needed: Mapping[bytes, tuple[Address, ...]],
) -> None:
    by_address: dict[Address, list[bytes]] = {}
    for party in sorted(needed):
        for address in needed[party]:
            by_address.setdefault(address, []).append(party)
    wanted = [(address, by_address[address]) for address in sorted(by_address)]
    found = [(part.address, [entry.recipient for entry in part.entries]) for part in wraps]
    if found != wanted or [box.recipient for box in boxes] != sorted(needed):
        raise NotAuthorised(
            "the act's keys are not for exactly the members entitled to them",
            hint="The members changed meanwhile: look again, and try again.",
        )
    if [*wraps, *boxes] != list(parts):
        raise MalformedMessage("the parts of an act's sides are out of order")


def _check_wraps(
    after: State, act: Act, part: WrapsPart, on_record: WrapTable, checked: CheckedSides
) -> None:
    address = part.address
    own = [entry for entry in part.entries if _is_first_wrap(act, entry)]
    source = own[0].wrap if own else on_record.get((address, act.author))
    if source is None:
        raise NotAuthorised(f"the author holds no key of {address} to pass on")
    for entry in part.entries:
        if _is_first_wrap(act, entry):
            if entry.proof:
                raise MalformedMessage("a creator's own wrap has no proof")
        else:
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
        checked.wraps[address, entry.recipient] = entry.wrap


def _is_first_wrap(act: Act, entry: Entry) -> bool:
    return isinstance(act.payload, acts.CreateEpoch) and entry.recipient == act.author


def _subject(payload: Any) -> bytes:
    """Return the party that an act of one subject (Sides.MEMBER) is about."""
    if isinstance(payload, acts.Invite | acts.Join):
        return payload.card.identity.member_id
    member: bytes = payload.member
    return member
