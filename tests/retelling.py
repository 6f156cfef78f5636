"""The sides of acts, told otherwise than they were made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from client.vault import Vault
from protocol import acts
from protocol.errors import IntegrityError, VerificationFailed
from protocol.group import base_mul
from protocol.ledger.sides import Entry, Part, WrapsPart, encode_part, parse_part
from protocol.rewrap import Wrap
from tests.company import Company
from tests.forging import CORE, bidder
from tests.liars import ForgedLog
from tests.world import of_class

Tamper = Callable[[list[Part]], list[Part]]
OTHER = base_mul((7).to_bytes(32, "little"))


def retold(sides: tuple[bytes, ...], change: Tamper) -> tuple[bytes, ...]:
    return tuple(map(encode_part, change([parse_part(each) for each in sides])))


def each_entry(change: Callable[[Entry], Entry]) -> Tamper:
    return lambda parts: [
        replace(part, entries=tuple(map(change, part.entries)))
        if isinstance(part, WrapsPart)
        else part
        for part in parts
    ]


def flipped(proof: bytes, at: int) -> bytes:
    return proof[:at] + bytes([proof[at] ^ 1]) + proof[at + 1 :]


def other_wrap(change: Callable[[Wrap], Wrap]) -> Tamper:
    return each_entry(lambda entry: replace(entry, wrap=change(entry.wrap)))


def other_proof(change: Callable[[bytes], bytes]) -> Tamper:
    return each_entry(lambda entry: replace(entry, proof=change(entry.proof)))


async def a_grant(cast: Company, log: ForgedLog) -> tuple[Vault, acts.Act, tuple[bytes, ...]]:
    """Return a grant of the core class by ada to bo, with its honest sides."""
    ada = await cast("ada")
    payload = acts.Grant(bidder(log, confirmed=True), (of_class(CORE),))
    act = log.draft(ada.identity, payload)
    return ada, act, log.sides(ada.session, act)


OTHER_KEYS = [
    (other_wrap(lambda wrap: Wrap(wrap.ephemeral, wrap.masked + OTHER)), IntegrityError),
    (other_wrap(lambda wrap: Wrap(wrap.ephemeral + OTHER, wrap.masked)), IntegrityError),
    (other_wrap(lambda wrap: Wrap(wrap.masked, wrap.ephemeral)), IntegrityError),
    (other_wrap(lambda _: Wrap(OTHER, OTHER)), IntegrityError),
    (other_proof(lambda proof: flipped(proof, 0)), IntegrityError),
    (other_proof(lambda proof: flipped(proof, len(proof) // 2)), IntegrityError),
    (other_proof(lambda proof: proof[:-1]), VerificationFailed),
    (other_proof(lambda _: b""), VerificationFailed),
]
