"""The tables of SPEC.md that follow from the code: `python -m tests.spec_tables` writes them.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; `tests/test_spec.py` checks
that each is what the code says.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from client import errors as client_errors
from client.cli.exits import EXITS
from protocol import acts, api, blocks, errors, identity, observations
from protocol.encoding import encode
from protocol.errors import SealroomError
from protocol.labels import Label
from protocol.ledger import sides
from protocol.ledger.transitions import TRANSITIONS, Sides
from protocol.limits import limits_table
from protocol.wire import (
    Blob,
    Choice,
    Fixed,
    ListOf,
    Maybe,
    OneOf,
    Parsed,
    Plain,
    Text,
    Uint,
)
from tests.fixed_draws import parts_of
from vault import statuses
from vault.routes import ROUTES, SignedBy

wire: Any = importlib.import_module("protocol.wire")

SPEC: Final = Path(__file__).resolve().parent.parent / "protocol" / "SPEC.md"
MARKED: Final = re.compile(r"<!-- table: ([\w. -]+) -->\n(.*?)<!-- end -->", re.DOTALL)


def filled(text: str) -> str:
    """Return the specification with every table as the code has it."""
    return with_tables(text, table)


def with_tables(text: str, table_of: Callable[[str], str]) -> str:
    """Return a page with what stands between each table's marks replaced."""

    def marked(found: re.Match[str]) -> str:
        return f"<!-- table: {found[1]} -->\n{table_of(found[1])}<!-- end -->"

    return MARKED.sub(marked, text)


def table(name: str) -> str:
    """Return one table by its name: one of `TABLES`, or `record` and a class."""
    kind, _, rest = name.partition(" ")
    return record_table(rest) if kind == "record" else TABLES[name]()


def rows_of(heads: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """Return a table's lines."""
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


# --- records


RECORDS: Final = {
    cls.__name__: cls
    for module in (acts, api, blocks, identity, observations, sides, wire)
    for cls in vars(module).values()
    if isinstance(cls, type) and cls in wire._RECORDS
}


def record_table(name: str) -> str:
    """Return the fields of one record, in the order in which they travel."""
    codecs = wire._RECORDS[RECORDS[name]]._codecs
    return rows_of(
        ("", "field", "form"),
        ((str(i), f"`{field}`", form(codec)) for i, (field, codec) in enumerate(codecs)),
    )


PARSERS: Final = {
    "verify_public_key": "an Ed25519 public key (2.5)",
    "check_kem_key": "an X-Wing public key (4.1)",
    "Point.from_bytes": "a point (3.1)",
    "Wrap.from_bytes": "a wrap (6.1)",
}


def form(codec: Any) -> str:
    """Say in words what a field takes."""
    match codec:
        case Fixed(size=size):
            return f"{size:,} bytes"
        case Blob():
            return f"{_range(codec.least, codec.most)} bytes"
        case Uint():
            return f"integer, {_range(codec.least, codec.most)}"
        case Text():
            return f"text, {_range(codec.least, codec.most)} bytes"
        case OneOf():
            return f"`{codec._enum.__name__}`"
        case Maybe():
            return f"null, or {form(codec._codec)}"
        case ListOf():
            return _list(codec)
        case Parsed():
            return f"{codec._bytes.size:,} bytes: {PARSERS[codec._from_bytes.__qualname__]}"
        case Plain():
            return "any plain value"
        case Choice():
            tags = (f'["{tag}", `{cls.__name__}`]' for cls, tag in codec._by_class.items())
            return " or ".join(tags)
        case wire.Flag:
            return "boolean"
        case _:
            return f"`{codec._cls.__name__}`"


def _list(codec: Any) -> str:
    order = ", ascending" if codec._ascending else ", without repeats" if codec._unique else ""
    return f"list of {_range(codec._least, codec._most)}{order}: {form(codec._item)}"


def _range(least: int, most: int) -> str:
    powers = {2**53: "2^53", 2**40: "2^40", 2**32 - 1: "2^32 - 1"}
    return f"{least:,} to {powers.get(most, f'{most:,}')}"


# --- enumerations


def codes() -> str:
    """Return every enumeration that travels, with its values."""
    enums = (acts.Role, acts.Reason, acts.Statement, blocks.FieldClass, blocks.Padding)
    return rows_of(("enumeration", "values"), ((f"`{e.__name__}`", _values(e)) for e in enums))


def _values(enum: Any) -> str:
    if issubclass(enum, str):
        return ", ".join(f"`{each.value}`" for each in enum)
    return ", ".join(f"{each.value} {each.name.lower().replace('_', ' ')}" for each in enum)


# --- labels and limits

USES: Final = {
    Label.MEMBER_ID: "hash: member id",
    Label.IDENTITY_SIGNATURE: "signature: a card's own",
    Label.IDENTITY_PROOF: "transcript: knowledge of p",
    Label.SEED_SIGNING: "HKDF info: seed to signing key",
    Label.SEED_KEM: "HKDF info: seed to KEM key",
    Label.SEED_REWRAP: "HKDF info: seed to p",
    Label.SEED_NONCE: "HKDF info: nonces of proofs, scalars of wraps",
    Label.INVITE_SEED: "HKDF info: link secret to seed",
    Label.INVITE_ACCESS: "HKDF info: link secret to access key",
    Label.ACCESS_KEY_ID: "hash: key id of an access key",
    Label.WORDS: "hash: the twelve words",
    Label.VAULT_ID: "hash: vault id",
    Label.SHARE_HASH: "hash: commitment to s",
    Label.FIELD_KEY: "HKDF info: K and s to field key",
    Label.KEY_CONFIRMATION: "HMAC message: confirmation",
    Label.SALT_KEY: "HKDF info: field key to salt key",
    Label.BATCH_KEY: "HKDF info: field key to batch key",
    Label.REWRAP_PROOF: "transcript: a rewrap",
    Label.SHARE_BOX: "hash: HPKE info of a box",
    Label.ACT: "payload type: an act",
    Label.OBSERVATION: "payload type: an observation",
    Label.OBSERVATION_LEAF: "hash: leaf of an observation",
    Label.REQUEST_HASH: "hash: a signed request",
    Label.RECOVERY_GENERATOR: "hash: the generator H",
    Label.RECOVERY_SHARE: "hash: HPKE info of a custodian's box",
    Label.RECOVERY_SEED: "HKDF info: dealt secret to seed key",
    Label.RECOVERY_RELEASE: "hash: HPKE info of a released share",
    Label.KEYRING_FILE: "associated data and HMAC message: keyring file",
    Label.KEYRING_ENCRYPTION: "HKDF info: passphrase key to encryption key",
    Label.KEYRING_MAC: "HKDF info: passphrase key to HMAC key",
    Label.JOURNAL_KEY: "HKDF info: field key to the key of hashes in a home's journal",
    Label.COMPARED_NAME: "HKDF info: seed to the key of names that a home remembers",
    Label.NAMES_SEEN: "HKDF info: seed to the key of hashes of names that a home has seen",
}


def labels() -> str:
    """Return every label and its one use."""
    return rows_of(("label", "use"), ((f"`{each.value.decode()}`", USES[each]) for each in Label))


MEANINGS: Final = {
    "act_bytes": "an act's body",
    "genesis_bytes": "a body that creates a vault; a genesis has about 1,700 bytes",
    "sides_bytes": "all parts of one act's sides",
    "side_parts": "parts of one act's sides",
    "message_depth": "nesting of arrays and maps",
    "message_elements": "elements of a message, at all depths",
    "text_bytes": "any text",
    "cell_bytes": "a cell's value",
    "block_bytes": "a block",
    "batch_bytes": "an upload body; a batch's blocks",
    "batch_records": "records of a batch",
    "batch_records_default": "records of a batch, unless the writer asks for another number",
    "act_batches": "manifests of one part of a commit; batches of one erasure",
    "act_moves": "blocks of one part of a re-encryption",
    "erase_bytes": "blocks of all batches of one erasure",
    "fields": "data fields of a collection",
    "collections": "collections of data",
    "members": "live members",
    "open_invites": "open invites",
    "epochs": "an epoch's number; shares in one box",
    "retired": "epochs of one retirement",
    "rules": "rules of one act",
    "custodians": "custodians of one dealing",
    "rebuilders": "identities to which one custodian of a dealing releases its share",
    "head_signers": "members whose acts count towards the head time",
    "proof_hashes": "hashes of a consistency proof",
    "log_page_leaves": "leaves of one page of the log",
    "log_page_bytes": "bytes of one page of the log, unless it has one leaf",
    "note_bytes": "a signed note",
    "note_signatures": "signature lines of a note",
    "fetch_blocks": "blocks of one fetch",
    "bundle_batches": "upload bodies of one bundle",
    "bundle_bytes": "a bundle of upload bodies",
    "fetch_bytes": "bytes of one fetch",
    "invite_seconds": "an invite's life, whatever the policy",
    "offer_seconds": "an offer's life, whatever the policy",
    "head_seconds": "the greatest age of a head time, whatever the policy",
    "request_skew_seconds": "a request's time from the server's, either way",
    "checkpoint_age_seconds": "a checkpoint's time from the client's, either way",
    "citation_age_seconds": "a cited checkpoint's time before the server's, in a new act",
    "staged_seconds": "how long a server keeps what was staged and not committed",
}


def limits() -> str:
    """Return every limit, its value and what it bounds."""
    return rows_of(
        ("limit", "value", "bounds"),
        ((f"`{name}`", f"{value:,}", MEANINGS[name]) for name, value in limits_table().items()),
    )


# --- transitions


def transitions() -> str:
    """Return the table of acts: who, when, what kind of act, and what it carries."""
    return rows_of(
        ("act", "by", "while", "control act", "names the head", "sides"),
        (
            (
                f"`{kind}`",
                _authors(row),
                _phases(row),
                _yes(row.control),
                _yes(row.names_head),
                _carried(row),
            )
            for kind, payload in acts.KINDS.items()
            for row in [TRANSITIONS[payload]]
        ),
    )


def _authors(row: Any) -> str:
    if row.by_invite:
        return "an open invite"
    if row.roles == frozenset(acts.Role):
        return "any live member" + (", or former one" if row.former else "")
    return (
        ", ".join(role.value for role in acts.Role if role in row.roles)
        or "the owner it names, as the first leaf"
    )


def _phases(row: Any) -> str:
    return ", ".join(sorted(phase.value for phase in row.phases)) or "-"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _carried(row: Any) -> str:
    return "-" if row.sides is Sides.NONE else str(row.sides.value)


# --- errors and the door


def errors_table() -> str:
    """Return every error that a peer or user can meet."""
    return rows_of(
        ("code", "class", "below", "meaning", "HTTP", "exit"),
        (
            (
                f"`{_code(cls)}`",
                cls.__name__,
                (cls.__bases__[0].__name__ if cls is not SealroomError else "-"),
                (cls.__doc__ or "").partition("\n")[0].rstrip("."),
                _status(cls),
                _exit(cls),
            )
            for module in (errors, statuses, client_errors)
            for cls in vars(module).values()
            if isinstance(cls, type)
            and issubclass(cls, SealroomError)
            and cls.__module__ == module.__name__
        ),
    )


def _status(cls: Any) -> str:
    status = statuses.status_of(cls)
    return "-" if status == 500 else str(status)


def _code(cls: Any) -> str:
    return "the refusal's" if cls is client_errors.Refused else str(cls.code)


def _exit(cls: Any) -> str:
    return str(next(code for kind, code in EXITS if issubclass(cls, kind)))


def routes() -> str:
    """Return every path of the interface."""
    return rows_of(
        ("method", "path", "query", "signed by", "body, at most"),
        (
            (
                route.method,
                f"`{route.template}`",
                ", ".join(f"`{name}`" for name in sorted(route.query)) or "-",
                {
                    SignedBy.NOBODY: "nobody",
                    SignedBy.MEMBER: "a key that the vault knows",
                    SignedBy.OWNER: "the owner in the genesis",
                }[route.signed_by],
                "-" if route.body is None else f"`{route.body.content_type}`, {route.body.most:,}",
            )
            for route in ROUTES
        ),
    )


# --- one act, byte by byte


def one_act() -> str:
    """Return the first `noop` of the vectors' ledger, taken apart to the last byte."""
    path = SPEC.parent.parent / "tests" / "vectors" / "acts.json"
    found = json.loads(path.read_text(encoding="ascii"))
    (case,) = [each for each in found["acts"] if each["kind"] == "noop"]
    envelope = bytes.fromhex(case["envelope"])
    kind, body, signature = parts_of(envelope)
    version, vault_id, author, number, cited, name, payload, sides_root = parts_of(body)
    size, root, time, server = cited
    pieces = [
        (b"\x01", "the leaf's type: an act"),
        (b"\x93", "the envelope: an array of 3"),
        (encode(kind), f'payload type: "{kind.decode()}"'),
        (encode(body)[: -len(body)], f"the body: {len(body)} bytes, what the signature is over"),
        (b"\x98", "an array of 8"),
        (encode(version), "version 1"),
        (encode(vault_id), "vault id"),
        (encode(author), "author: member id"),
        (encode(number), f"number: the author's act number {number}, from 0"),
        (b"\x94", "the checkpoint it cites: an array of 4"),
        (encode(size), f"size: {size} leaves"),
        (encode(root), "root"),
        (encode(time), f"time: {time}"),
        (encode(server), "the server's signature of that checkpoint"),
        (encode(name), f'kind: "{name}"'),
        (encode(payload), "payload: an array of 0"),
        (encode(sides_root), "sides root: null, it carries none"),
        (encode(signature), "the author's signature"),
    ]
    if b"".join(piece for piece, _ in pieces) != b"\x01" + envelope:
        raise AssertionError("the act is not these pieces")
    lines = [line for piece, said in pieces for line in _hex_lines(piece, said)]
    return "```text\n" + "".join(f"{line}\n" for line in lines) + "```\n"


def _hex_lines(piece: bytes, said: str) -> Iterator[str]:
    for at in range(0, len(piece), 24):
        comment = f"  {said}" if at == 0 else ""
        yield f"{piece[at : at + 24].hex():<48}{comment}".rstrip()


TABLES: Final[dict[str, Callable[[], str]]] = {
    "codes": codes,
    "labels": labels,
    "limits": limits,
    "transitions": transitions,
    "errors": errors_table,
    "routes": routes,
    "one act": one_act,
}


@click.command()
def main() -> None:
    """Write every table of SPEC.md anew."""
    SPEC.write_text(filled(SPEC.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
