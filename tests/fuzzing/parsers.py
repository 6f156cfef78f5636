"""Everything here that reads what somebody else wrote, from bytes, in one table.

Each gives back what the value that it read encodes to, where there is one encoding; the same bytes
must come out then. Whatever else it does to bytes is to refuse them by an error of ours.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from client import kits, links, recovery
from client.keyring import Keyring
from client.keyring_file import KeyringFile
from client.tables import ReadOptions, open_source
from protocol import acts, api
from protocol.blocks import (
    Manifest,
    cell_lengths,
    join_batch_body,
    join_bundle,
    split_batch_body,
    split_bundle,
)
from protocol.checkpoint import parse_note
from protocol.encoding import decode, encode
from protocol.errors import SealroomError
from protocol.ledger.sides import encode_part, parse_part
from protocol.limits import LIMITS, MIB
from protocol.note import VerifierKey, parse_signed_note
from protocol.observations import ObservationBody
from protocol.requests import RequestMessage, parse_signature
from protocol.rewrap import Wrap
from protocol.sigma import Proof
from protocol.wire import Envelope, from_bytes, to_bytes
from tests.act_samples import SERVER

VAULT: Final = b"v" * 32
SERVER_KEY: Final = bytes(SERVER.verify_key)

Parser = Callable[[bytes], bytes | None]
"""Reads bytes: returns what the value encodes to, or None where it has no one encoding."""
REFUSES: Final[tuple[type[Exception], ...]] = (SealroomError,)


def record(cls: type[Any], most: int = LIMITS.act_bytes) -> Parser:
    """Return the parser of a record."""
    return lambda data: to_bytes(from_bytes(cls, data, max_bytes=most))


def any_value(data: bytes) -> bytes:
    """Read whatever the one encoding can say."""
    return encode(decode(data, max_bytes=LIMITS.act_bytes))


def act(data: bytes) -> bytes:
    """Read a signed act."""
    envelope, _ = acts.parse_envelope(data)
    return to_bytes(envelope)


def batch(data: bytes) -> bytes:
    """Read an upload."""
    body = split_batch_body(data)
    return join_batch_body(body.manifest, body.blocks)


def bundle(data: bytes) -> bytes:
    """Read uploads that are sent together."""
    return join_bundle(split_bundle(data))


def block(data: bytes) -> None:
    """Read the lengths in a block of as many records as its first two bytes say."""
    records, sealed = int.from_bytes(data[:2], "big"), data[2:]
    lengths = cell_lengths(sealed, records)
    assert 4 * records + sum(lengths) == len(sealed)


def checkpoint(data: bytes) -> None:
    """Read a checkpoint: nothing that was not signed comes of it, whatever stands around."""
    found = parse_note(data, VAULT, SERVER_KEY)
    assert parse_note(found.note(), VAULT, SERVER_KEY) == found


def note(data: bytes) -> bytes:
    """Read a note, of which every byte is text or signature."""
    found = parse_signed_note(data)
    return found.text + b"\n" + b"".join(line.line() for line in found.signatures)


def verifier_key(data: bytes) -> bytes:
    """Read a verifier key of a note, as it is pasted."""
    found = VerifierKey.parse(text(data))
    typed = bytes([found.kind]) + found.public_key
    return f"{found.name}+{found.key_id.hex()}+{base64.b64encode(typed).decode()}".encode()


def signature(data: bytes) -> None:
    """Read a request's head: lines of a name, a colon, a space and a value, after its target."""
    target, *lines = data.decode("latin-1").split("\n")
    fields = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    parse_signature(RequestMessage.received("POST", target, fields))


def keyring_file(data: bytes) -> bytes:
    """Read a keyring's file up to where the passphrase is needed."""
    found = KeyringFile.parse(data)
    return found.header.encode() + found.ciphertext + found.mac


def link(data: bytes) -> None:
    """Read an invite link."""
    found = links.parse_link(text(data))
    assert links.parse_link(found.text()) == found


def kit(data: bytes) -> None:
    """Read a recovery kit's page."""
    found = kits.parse_kit(text(data))
    assert kits.parse_kit(found.code()) == found


def words(data: bytes) -> None:
    """Read a kit's words."""
    kits.seed_of_words(text(data))


def rescue(data: bytes) -> None:
    """Read a rescue request."""
    found = recovery.parse_request(text(data), VAULT)
    assert recovery.parse_request(found.text(), VAULT) == found


def csv(data: bytes) -> None:
    """Read a table of delimited text, from its encoding to its last row."""
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        file.write(data)
        file.flush()
        source = open_source(Path(file.name), ReadOptions(guess=True))
        for rows in source.batches(1_000):
            assert rows.num_columns == len(source.columns)


def text(data: bytes) -> str:
    """Return bytes as somebody pastes them, whatever they are."""
    return data.decode("utf-8", "surrogateescape")


PARSERS: Final[Mapping[str, Parser]] = {
    "value": any_value,
    "act": act,
    "envelope": record(Envelope),
    "manifest": record(Manifest),
    "part": lambda data: encode_part(parse_part(data)),
    "wrap": lambda data: bytes(Wrap.from_bytes(data)),
    "proof": lambda data: bytes(Proof.from_bytes(data, 2)),
    "observation": record(ObservationBody),
    "batch": batch,
    "bundle": bundle,
    "block": block,
    "note": note,
    "checkpoint": checkpoint,
    "verifier key": verifier_key,
    "request head": signature,
    "create vault": record(api.CreateVault),
    "submit act": record(api.SubmitAct, api.ACT_BODY_BYTES),
    "fetch blocks": record(api.FetchBlocks),
    "log page": record(api.LogPage, api.LOG_PAGE_BYTES),
    "submitted": record(api.Submitted),
    "staged": record(api.Staged, 4 * MIB),
    "server info": record(api.ServerInfo),
    "consistency": record(api.ConsistencyProof),
    "observations": record(api.ObservationsPage, api.LOG_PAGE_BYTES),
    "error": record(api.ErrorBody),
    "keyring file": keyring_file,
    "keyring": record(Keyring),
    "link": link,
    "kit": kit,
    "words": words,
    "rescue": rescue,
    "csv": csv,
}
