"""Writes the test vectors beside SPEC.md: `python -m tests.make_vectors`.

They are for other implementations; `tests/test_spec_vectors.py` reads them back through this
one. Every secret is fixed. Where the code draws randomness inside, a stream takes its place and
the vectors list what it gave, in order, as `drawn`. Running this again gives the same bytes.

Bytes are lower-case hex throughout. A plain value of the one encoding is written as JSON with
{"int": "1"}, {"hex": "00"} and {"map": [[key, value]]} where JSON has no form of its own. An
invalid case has a name that SPEC.md refers to, and the code of the error that it gives.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from unittest import mock

from nacl.signing import SigningKey

from client.columns import Cells
from client.crypto import cells as cells_module
from client.crypto.block_keys import cell_key
from client.crypto.cells import ColumnToSeal, SealedBatch, reseal_block, seal_batch
from client.crypto.derivation import hkdf
from client.crypto.identity import Identity
from client.crypto.invites import invite_access_key, invite_identity
from client.crypto.keys import derive_field_key, key_confirmation, share_hash
from client.crypto.secrets import InviteSecret, Seed, Share
from client.crypto.wraps import create_epoch, rewrap, unwrap
from client.links import Link
from client.request_signing import sign_request
from client.words import pair_words
from protocol import acts, sigma
from protocol.acts import Act, Role, Rule
from protocol.blocks import (
    PEOPLE_COLLECTION,
    PEOPLE_FIELD,
    Address,
    BlockRef,
    FieldClass,
    Manifest,
    Padding,
    catalog_field,
    empty_cells,
    join_batch_body,
)
from protocol.checkpoint import Checkpoint, checkpoint_key, origin, signed_message
from protocol.encoding import Value, decode, encode
from protocol.group import Point, Scalar, base_mul
from protocol.labels import Label, digest, framed
from protocol.ledger import encode_part
from protocol.ledger.sides import WrapsPart, box_info, part_hash
from protocol.limits import LIMITS
from protocol.merkle import EMPTY_ROOT, Tree, leaf_hash, root_of
from protocol.note import NoteSignature, cosigned_message
from protocol.requests import (
    URL_CHARACTERS,
    RequestMessage,
    body_sha256,
    content_digest,
    parse_signature,
    verify_request,
)
from protocol.rewrap import RewrapStatement
from protocol.signing import pae
from protocol.wire import Envelope, to_bytes
from tests import edwards
from tests.document_vectors import documents
from tests.fixed_draws import (
    COLLECTION,
    DAY,
    SERVER,
    VAULT_ID,
    Draws,
    Json,
    fixed,
    fixed_randomness,
    flipped,
    identity_of,
    parts_of,
    person,
    plain,
    refusal,
)
from tests.ledger_vectors import act_bodies, ledger, ledger_invites
from tests.recovery_vectors import recovery
from tests.world import NOW

FOLDER: Final = Path(__file__).resolve().parent / "vectors"
L: Final = edwards.L


def write_all() -> None:
    """Write every file anew."""
    FOLDER.mkdir(exist_ok=True)
    for name in FILES:
        (FOLDER / f"{name}.json").write_text(rendered(name), encoding="ascii")


def rendered(name: str) -> str:
    """Return the text of one file."""
    with fixed_randomness(name) as draws:
        return json.dumps(FILES[name](draws), indent=1) + "\n"


# --- section 2


def encoding(draws: Draws) -> Json:
    values: list[tuple[str, Value]] = [
        ("null", None),
        ("false", False),
        ("true", True),
        *((f"the integer {n}", n) for n in INTEGERS),
        *((f"text of {n} bytes", "x" * n) for n in (0, 1, 31, 32, 255, 256)),
        ("text beyond ASCII", "naïve 保险 \U0001f512"),
        *((f"{n} bytes", bytes(n)) for n in (0, 1, 255, 256)),
        *((f"an array of {n}", (0,) * n) for n in (0, 1, 15, 16)),
        ("nested arrays", ((), ((), (1, "two", b"three")))),
        ("a map in the order of its keys' bytes", {"a": 1, "aa": 2, "b": None, "é": b""}),
    ]
    invalid = [
        {"name": name, "hex": text, "error": refusal(decode, bytes.fromhex(text), max_bytes=4096)}
        for name, text in BAD_ENCODINGS
    ]
    parts = [(), (b"",), (b"", b""), (b"a",), (b"a", b"bc"), (b"ab", b"c")]
    return {
        "about": "SPEC section 2: the one encoding, and how labels and values are joined",
        "valid": [
            {"name": name, "hex": encode(value).hex(), "value": plain(value)}
            for name, value in values
        ],
        "invalid": invalid,
        "framed": [
            {
                "label": Label.WORDS.value.decode(),
                "parts": [part.hex() for part in each],
                "framed": framed(Label.WORDS, *each).hex(),
                "digest": digest(Label.WORDS, *each).hex(),
            }
            for each in parts
        ],
    }


INTEGERS: Final = (
    0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**64 - 1,
    -1, -32, -33, -128, -129, -32_768, -32_769, -(2**31), -(2**31) - 1, -(2**63),
)  # fmt: skip

BAD_ENCODINGS: Final = (
    ("nothing", ""),
    ("cut-in-a-number", "cd01"),
    ("cut-in-text", "a3616"[:4]),
    ("cut-in-an-array", "9201"),
    ("two-values", "c0c0"),
    ("a-reserved-byte", "c1"),
    ("a-float", "ca3f800000"),
    ("a-double", "cb3ff0000000000000"),
    ("an-extension", "d40001"),
    ("a-timestamp", "d6ff00000000"),
    ("a-small-integer-in-two-bytes", "cc7f"),
    ("an-integer-in-three-bytes", "cd00ff"),
    ("a-positive-integer-in-a-signed-form", "d07f"),
    ("a-negative-integer-in-two-bytes", "d0e0"),
    ("short-text-in-two-bytes", "d90161"),
    ("short-bytes-in-three", "c5000100"),
    ("a-short-array-in-three-bytes", "dc0001c0"),
    ("a-short-map-in-three-bytes", "de0001a161c0"),
    ("map-keys-out-of-order", "82a162c0a161c0"),
    ("a-map-key-twice", "82a161c0a161c0"),
    ("a-map-key-that-is-a-number", "8101c0"),
    ("text-that-is-not-utf-8", "a1ff"),
    ("text-with-a-surrogate", "a3eda080"),
    ("nested-too-deep", "91" * 13 + "c0"),
    ("bytes-beyond-the-end", "c6ffffffff00"),
)


def signatures(draws: Draws) -> Json:
    key = SigningKey(fixed("a signing key"))
    public, message = bytes(key.verify_key), b"a message"
    good = key.sign(message).signature
    mixed = edwards.encode(edwards.add(_point(public), edwards.EIGHTH))
    beyond = (int.from_bytes(good[32:], "little") + L).to_bytes(32, "little")
    cases = [
        *(
            (f"a-key-of-small-order-{i}", small, message, good)
            for i, small in enumerate(edwards.SMALL_ENCODINGS)
        ),
        ("a-key-of-mixed-order", mixed, message, good),
        ("a-key-off-the-curve", (2).to_bytes(32, "little"), message, good),
        *(
            (f"an-r-of-small-order-{i}", public, message, small + good[32:])
            for i, small in enumerate(edwards.SMALL_ENCODINGS)
        ),
        ("an-s-of-l-or-more", public, message, good[:32] + beyond),
        ("a-changed-signature", public, message, flipped(good, 0)),
        ("another-message", public, b"another message", good),
        ("another-key", bytes(SERVER.verify_key), message, good),
    ]
    from protocol.signing import verify_signature

    body = encode((1, "body"))
    signature = key.sign(pae(Label.OBSERVATION, body)).signature
    return {
        "about": "SPEC section 2: what is signed, and which signatures verify",
        "seed": bytes(key).hex(),
        "public_key": public.hex(),
        "pae": {
            "type": Label.OBSERVATION.value.decode(),
            "body": body.hex(),
            "pae": pae(Label.OBSERVATION, body).hex(),
            "signature": signature.hex(),
            "envelope": to_bytes(Envelope(Label.OBSERVATION, body, signature)).hex(),
        },
        "valid": [
            {
                "name": "plain",
                "key": public.hex(),
                "message": message.hex(),
                "signature": good.hex(),
            }
        ],
        "invalid": [
            {
                "name": name,
                "key": key_.hex(),
                "message": message_.hex(),
                "signature": signature_.hex(),
                "error": refusal(verify_signature, key_, message_, signature_),
            }
            for name, key_, message_, signature_ in cases
        ],
    }


def _point(encoded: bytes) -> tuple[int, int]:
    point = edwards.decode(encoded)
    assert point is not None
    return point


# --- section 3


def group(draws: Draws) -> Json:
    base = base_mul((1).to_bytes(32, "little"))
    mixed = edwards.encode(edwards.add(edwards.BASE, edwards.EIGHTH))
    points = [
        *((f"small-order-{i}", small) for i, small in enumerate(edwards.SMALL_ENCODINGS)),
        ("mixed-order", mixed),
        ("off-the-curve", (2).to_bytes(32, "little")),
        ("y-not-reduced", (edwards.P + 4).to_bytes(32, "little")),
        ("31-bytes", bytes(base)[:31]),
    ]
    scalars = [
        ("zero", bytes(32)),
        ("the-order", L.to_bytes(32, "little")),
        ("the-order-and-one", (L + 1).to_bytes(32, "little")),
        ("all-ones", b"\xff" * 32),
        ("33-bytes", bytes(32) + b"\x01"),
    ]
    wide = fixed("64 wide bytes", 64)
    return {
        "about": "SPEC section 3: points and scalars",
        "generator": bytes(base).hex(),
        "multiples": [
            {"scalar": s.hex(), "point": bytes(base_mul(s)).hex()}
            for n in (1, 2, 8, 2**251, L - 1)
            for s in [n.to_bytes(32, "little")]
        ],
        "reduction": {"wide": wide.hex(), "scalar": bytes(Scalar.reduced(wide)).hex()},
        "invalid_points": [
            {"name": n, "hex": p.hex(), "error": refusal(Point.from_bytes, p)} for n, p in points
        ],
        "invalid_scalars": [
            {"name": n, "hex": s.hex(), "error": refusal(Scalar.from_bytes, s)} for n, s in scalars
        ],
    }


def transcript(relation: sigma.Relation, proof: sigma.Proof) -> Json:
    """Write out the transcript of a proof, with the commitments that it implies."""
    from protocol.group import linear, negate

    minus = negate(bytes(proof.challenge))
    commitments = tuple(
        linear(
            (
                *(
                    (
                        bytes(proof.responses[i])
                        if sign > 0
                        else negate(bytes(proof.responses[i])),
                        b,
                    )
                    for i, sign, b in equation.terms
                ),
                (minus, equation.image),
            )
        )
        for equation in relation.equations
    )
    parts = (*relation.statement(), *map(bytes, commitments))
    return {
        "label": relation.label.value.decode(),
        "statement": [part.hex() for part in relation.statement()],
        "statement_digest": digest(relation.label, *relation.statement()).hex(),
        "commitments": [bytes(each).hex() for each in commitments],
        "hashed": framed(relation.label, *parts).hex(),
        "challenge": bytes(relation.challenge(commitments)).hex(),
    }


# --- section 4


def identities(draws: Draws) -> Json:
    from protocol.identity import join_context, recovery_context, rotation_context, verify_card
    from protocol.wire import from_bytes

    ada, bob = person("Ada"), person("Bob")
    invite = fixed("an invite's id")
    joins = join_context(VAULT_ID, invite)
    joining = to_bytes(ada.card(joins))
    follows, rebuilds = rotation_context(VAULT_ID, bob.member_id), recovery_context(VAULT_ID)
    rotating, rebuilding = to_bytes(ada.card(follows)), to_bytes(ada.card(rebuilds))
    draws.taken()
    card = ada.card(VAULT_ID)
    drawn = draws.taken()
    relation = ada.public.knowledge(VAULT_ID)
    proof = sigma.Proof.from_bytes(card.proof, 1)
    raw = to_bytes(card)
    minus = Point.from_bytes(edwards.encode(_negated(bytes(ada.public.rewrap_key))))
    rogue = replace(ada.public, rewrap_key=minus)
    x25519 = ada.public.kem_key[1184:]
    kem = ada.public.kem_key
    cases: list[tuple[str, bytes, bytes]] = [
        ("a-card-for-another-vault", raw, fixed("another vault")),
        ("a-card-for-no-invite", raw, joins),
        ("a-card-for-another-invite", joining, join_context(VAULT_ID, fixed("another invite"))),
        (
            "a-card-for-an-invite-of-another-vault",
            joining,
            join_context(fixed("another vault"), invite),
        ),
        ("a-card-for-a-join", joining, VAULT_ID),
        ("a-new-identity-of-another", rotating, rotation_context(VAULT_ID, invite)),
        (
            "a-new-identity-in-another-vault",
            rotating,
            rotation_context(fixed("another vault"), bob.member_id),
        ),
        ("a-card-for-a-recovery", rebuilding, VAULT_ID),
        ("a-recovery-with-a-card-for-no-recovery", raw, rebuilds),
        (
            "a-changed-signature",
            to_bytes(replace(card, signature=flipped(card.signature, 40))),
            VAULT_ID,
        ),
        ("a-changed-response", to_bytes(replace(card, proof=flipped(card.proof, 40))), VAULT_ID),
        (
            "the-negated-rewrap-key",
            to_bytes(
                replace(card, identity=rogue, signature=ada.sign(rogue.signed_bytes(VAULT_ID)))
            ),
            VAULT_ID,
        ),
        (
            "keys-of-another",
            to_bytes(replace(bob.card(VAULT_ID), identity=ada.public)),
            VAULT_ID,
        ),
        (
            "a-challenge-that-is-not-reduced",
            to_bytes(replace(card, proof=b"\xff" * 32 + card.proof[32:])),
            VAULT_ID,
        ),
        *(
            (name, raw.replace(old, new), VAULT_ID)
            for name, old, new in (
                (
                    "a-signing-key-of-small-order",
                    ada.public.signing_key,
                    edwards.SMALL_ENCODINGS[2],
                ),
                (
                    "a-rewrap-key-of-small-order",
                    bytes(ada.public.rewrap_key),
                    edwards.SMALL_ENCODINGS[6],
                ),
                ("an-x25519-key-of-low-order", x25519, bytes(32)),
                ("an-x25519-key-not-reduced", x25519, (edwards.P + 9).to_bytes(32, "little")),
                ("an-ml-kem-coefficient-not-reduced", kem[:3], b"\xff\xff\xff"),
                ("one-key-in-two-roles", bytes(ada.public.rewrap_key), ada.public.signing_key),
            )
        ),
        ("cut-short", raw[:-1], VAULT_ID),
    ]
    from protocol.identity import IdentityCard

    def check(data: bytes, context: bytes) -> None:
        verify_card(from_bytes(IdentityCard, data), context)

    return {
        "about": "SPEC section 4: identities, cards, words",
        "identities": [identity_of(each) for each in (ada, bob)],
        "card": {
            "context": VAULT_ID.hex(),
            "seed": ada.seed.expose().hex(),
            "drawn": drawn,
            "signed": ada.public.signed_bytes(VAULT_ID).hex(),
            "card": raw.hex(),
            "transcript": transcript(relation, proof),
            "nonces": [_hedged(ada.seed, transcript(relation, proof), drawn, 0)],
        },
        "joining": {
            "vault_id": VAULT_ID.hex(),
            "invite": invite.hex(),
            "context": joins.hex(),
            "card": joining.hex(),
        },
        "rotating": {
            "vault_id": VAULT_ID.hex(),
            "replaced": bob.member_id.hex(),
            "context": follows.hex(),
            "card": rotating.hex(),
        },
        "rebuilding": {
            "vault_id": VAULT_ID.hex(),
            "context": rebuilds.hex(),
            "card": rebuilding.hex(),
        },
        "invalid_cards": [
            {
                "name": name,
                "context": context.hex(),
                "card": data.hex(),
                "error": refusal(check, data, context),
            }
            for name, data, context in cases
        ],
        "words": [
            {
                "vault_id": VAULT_ID.hex(),
                "members": sorted([ada.member_id.hex(), bob.member_id.hex()]),
                "words": pair_words(VAULT_ID, ada.member_id, bob.member_id),
            }
        ],
    }


def _negated(encoded: bytes) -> tuple[int, int]:
    x, y = _point(encoded)
    return (-x) % edwards.P, y


def _hedged(seed: Seed, script: Json, drawn: Sequence[str], number: int) -> Json:
    """Write out how one nonce of a proof was made."""
    random = bytes.fromhex(drawn[number])
    info = framed(
        Label.SEED_NONCE,
        bytes.fromhex(script["statement_digest"]),
        number.to_bytes(2, "big"),
        random,
    )
    wide = hkdf(seed.expose(), info, length=64)
    return {"random": drawn[number], "info": info.hex(), "nonce": bytes(Scalar.reduced(wide)).hex()}


def invites(draws: Draws) -> Json:
    from client.links import parse_link

    secret = InviteSecret(fixed("a link's secret"))
    inviter, root = person("Ada").member_id, fixed("a root")
    expiry, size = NOW + 14 * DAY, 7
    made = invite_identity(secret, VAULT_ID, inviter, Role.BIDDER, expiry, size, root)
    access = bytes(invite_access_key(secret).verify_key)
    pin = fixed("a pin")
    links = [
        Link("vault.example:8443", VAULT_ID, secret, None),
        Link("[2001:db8::1]", VAULT_ID, secret, pin),
    ]
    text = links[0].text()
    bad = [
        ("no-secret", text.partition("#")[0]),
        ("a-letter-short", text[:-1]),
        ("a-letter-more", text + "A"),
        ("unused-bits-set", text[:-1] + chr(ord(text[-1]) + 1)),
        ("another-scheme", text.replace("sealroom:", "https:")),
        ("upper-case-id", text.replace(VAULT_ID.hex(), VAULT_ID.hex().upper())),
    ]
    return {
        "about": "SPEC section 4.3: what a link's secret derives, and links",
        "secret": secret.expose().hex(),
        "vault_id": VAULT_ID.hex(),
        "inviter": inviter.hex(),
        "role": Role.BIDDER.value,
        "expiry": expiry,
        "cited_size": size,
        "cited_root": root.hex(),
        "seed": made.seed.expose().hex(),
        "invite_id": made.member_id.hex(),
        "access_key": access.hex(),
        "access_key_id": digest(Label.ACCESS_KEY_ID, access).hex(),
        "links": [
            {
                "host": each.host,
                "vault_id": each.vault_id.hex(),
                "secret": each.secret.expose().hex(),
                "pin": None if each.pin is None else each.pin.hex(),
                "link": each.text(),
            }
            for each in links
        ],
        "invalid_links": [
            {"name": name, "link": link, "error": refusal(parse_link, link)} for name, link in bad
        ],
    }


# --- sections 5 and 6


def keys(draws: Draws) -> Json:
    address = Address(COLLECTION, 3, 1)
    wide = fixed("a group key", 64)
    group_key = base_mul(bytes(Scalar.reduced(wide)))
    share = Share(fixed("a share"))
    key = derive_field_key(VAULT_ID, address, group_key, share)
    return {
        "about": "SPEC section 5: from K and s to the field key and what is published of it",
        "vault_id": VAULT_ID.hex(),
        "collection": COLLECTION.hex(),
        "field": address.field,
        "epoch": address.epoch,
        "address": address.encode().hex(),
        "k_wide": wide.hex(),
        "group_key": bytes(group_key).hex(),
        "share": share.expose().hex(),
        "share_hash": share_hash(share).hex(),
        "field_key": key.expose().hex(),
        "confirmation": key_confirmation(key).hex(),
    }


def wraps(draws: Draws) -> Json:
    ada, bob, eve = person("Ada"), person("Bob"), person("Eve")
    address = Address(COLLECTION, 3, 1)
    new = create_epoch(ada, VAULT_ID, address)
    first_drawn = draws.taken()
    payload = acts.Grant(bob.member_id, (Rule(COLLECTION, None, 3),))
    act = Act(VAULT_ID, ada.member_id, 0, None, payload, None)
    hashed = new.definition.share_hash
    entry = rewrap(ada, act, address, hashed, new.first_wrap, bob.public)
    drawn = draws.taken()
    statement = RewrapStatement(
        VAULT_ID, act.kind, address, hashed, ada.public, new.first_wrap, bob.public, entry.wrap
    )
    proof = sigma.Proof.from_bytes(entry.proof, 2)
    script = transcript(statement.relation(), proof)
    other = create_epoch(ada, VAULT_ID, address).first_wrap
    forged = rewrap(ada, act, address, hashed, other, bob.public)
    draws.taken()
    wrong: list[tuple[str, RewrapStatement, bytes]] = [
        ("another-vault", replace(statement, vault_id=fixed("another vault")), entry.proof),
        ("another-kind", replace(statement, act_kind="offer"), entry.proof),
        ("another-epoch", replace(statement, address=Address(COLLECTION, 3, 2)), entry.proof),
        ("another-field", replace(statement, address=Address(COLLECTION, 4, 1)), entry.proof),
        ("another-share", replace(statement, share_hash=fixed("another share")), entry.proof),
        ("another-source", replace(statement, source=eve.public), entry.proof),
        ("another-recipient", replace(statement, recipient=eve.public), entry.proof),
        ("another-source-wrap", replace(statement, source_wrap=other), entry.proof),
        ("another-key", replace(statement, wrap=forged.wrap), forged.proof),
        ("a-changed-proof", statement, flipped(entry.proof, 33)),
        ("a-copied-wrap", replace(statement, wrap=new.first_wrap), entry.proof),
        ("a-proof-that-is-not-reduced", statement, entry.proof[:64] + b"\xff" * 32),
        ("a-proof-cut-short", statement, entry.proof[:-1]),
    ]
    part = encode_part(WrapsPart(address.collection, address.field, address.epoch, (entry,)))
    shares = [(address, hashed, part_hash(part))]
    info = box_info(VAULT_ID, act.kind, ada.member_id, bob.member_id, shares)
    box = draws.seal_box(bob.public, new.share.expose(), info)
    coins = draws.taken()
    from protocol.rewrap import verify_rewrap

    return {
        "about": "SPEC section 6: a first wrap, a rewrap with its proof, and a box of shares",
        "source": identity_of(ada),
        "recipient": identity_of(bob),
        "first_wrap": {
            "drawn": first_drawn,
            "share": new.share.expose().hex(),
            "group_key": bytes(unwrap(ada, new.first_wrap)).hex(),
            "wrap": bytes(new.first_wrap).hex(),
            "share_hash": hashed.hex(),
            "confirmation": new.definition.confirmation.hex(),
        },
        "rewrap": {
            **_statement(statement),
            "drawn": drawn,
            "proof": entry.proof.hex(),
            "transcript": script,
            "nonces": [_hedged(ada.seed, script, drawn[1:], i) for i in (0, 1)],
        },
        "invalid_rewraps": [
            {
                "name": name,
                **_statement(each),
                "proof": bad.hex(),
                "error": refusal(verify_rewrap, each, bad),
            }
            for name, each, bad in wrong
        ],
        "box": {
            "kind": act.kind,
            "author": ada.member_id.hex(),
            "recipient": bob.member_id.hex(),
            "wraps_part": part.hex(),
            "info": info.hex(),
            "coins": coins[0],
            "plaintext": new.share.expose().hex(),
            "box": box.hex(),
        },
    }


def _statement(statement: RewrapStatement) -> Json:
    return {
        "vault_id": statement.vault_id.hex(),
        "kind": statement.act_kind,
        "address": statement.address.encode().hex(),
        "share_hash": statement.share_hash.hex(),
        "source": to_bytes(statement.source).hex(),
        "source_wrap": bytes(statement.source_wrap).hex(),
        "recipient": to_bytes(statement.recipient).hex(),
        "wrap": bytes(statement.wrap).hex(),
    }


# --- section 7


def cells(draws: Draws) -> Json:
    many = [f"value {i:04d} {'x' * (i % 40)}".encode() for i in range(300)]
    columns: list[tuple[str, FieldClass, bool, list[bytes | None]]] = [
        ("text of few values", FieldClass.GENERAL, True, [b"yes", b"no", None, b"", b"no"]),
        ("numbers of eight bytes", FieldClass.CORE, False, [bytes(8), b"\x07" * 8, None]),
        ("few values, one of them long", FieldClass.SENSITIVE, True, [b"a", b"b" * 1500, None]),
        ("text of many values", FieldClass.GENERAL, True, list(many)),
        ("text of many values, core", FieldClass.CORE, True, list(many)),
    ]
    return {
        "about": "SPEC section 7: sealing, padding and opening blocks",
        "blocks": [_block(draws, *column) for column in columns],
        "invalid": _bad_blocks(),
        "other_modes": [
            _in_mode(Padding.UNIFORM, draws, "text of many values, uniform", many),
            _in_mode(
                Padding.MULTIPLE_16,
                draws,
                "text of few values, multiple 16",
                [b"a", None, b"b" * 40],
            ),
        ],
        "resealed": [_resealed(draws, *case) for case in _to_reseal(many)],
    }


def _to_reseal(
    many: list[bytes],
) -> list[tuple[str, FieldClass, bool, list[bytes | None], list[int]]]:
    return [
        ("nothing erased", FieldClass.SENSITIVE, True, [b"yes", None, b""], []),
        ("the longest erased", FieldClass.GENERAL, True, [b"a", b"b" * 40, None], [1]),
        ("the longest of numbers erased", FieldClass.CORE, False, [bytes(8), b"n" * 32], [1]),
        ("a long one erased", FieldClass.GENERAL, True, [b"a", b"b" * 1500, b"c" * 30], [1]),
        ("a long one left", FieldClass.GENERAL, True, [b"a", b"b" * 1500, b"c" * 3000], [0]),
        ("many values, some erased", FieldClass.CORE, True, list(many), [0, 7, 299]),
        ("few of many values left", FieldClass.GENERAL, True, list(many), [*range(44, 300)]),
        ("all erased", FieldClass.GENERAL, True, [b"a", None], [0, 1]),
    ]


def _in_mode(padding: Padding, draws: Draws, name: str, values: Sequence[bytes | None]) -> Json:
    """Seal general text in the mode of its class that this implementation does not choose."""
    with mock.patch.object(cells_module, "mode_of", return_value=padding):
        draws.taken()
        return _block(draws, name, FieldClass.GENERAL, True, list(values))


def _resealed(
    draws: Draws,
    name: str,
    field_class: FieldClass,
    string_like: bool,
    values: list[bytes | None],
    erased: list[int],
) -> Json:
    sealed = _sealed(field_class, string_like, values)
    (ref,), (whole,) = sealed.manifest.blocks, sealed.blocks
    block = empty_cells(whole, len(values), erased)
    old = replace(ref, length=len(block), sha256=hashlib.sha256(block).digest())
    old_key, new_key = fixed("a field key"), fixed("its next epoch's key")
    draws.taken()
    made, again = reseal_block(
        old_key,
        new_key,
        field_class,
        old,
        ref.epoch + 1,
        sealed.manifest.batch_id,
        len(values),
        block,
        string_like,
        frozenset(erased),
    )
    left = [None if at in erased else value for at, value in enumerate(values)]
    return {
        "name": name,
        "class": int(field_class),
        "string_like": string_like,
        "values": [None if value is None else value.hex() for value in left],
        "erased": erased,
        "old_field_key": old_key.hex(),
        "batch_id": sealed.manifest.batch_id.hex(),
        "old_block": block.hex(),
        "old_block_ref": to_bytes(old).hex(),
        "field_key": new_key.hex(),
        "drawn": draws.taken(),
        "salt_key": hkdf(new_key, framed(Label.SALT_KEY)).hex(),
        "salt": made.salt.hex(),
        "padding": int(made.padding),
        "block": again.hex(),
        "block_ref": to_bytes(made).hex(),
    }


def _sealed(
    field_class: FieldClass, string_like: bool, values: Sequence[bytes | None]
) -> SealedBatch:
    column = ColumnToSeal(
        3, 1, field_class, fixed("a field key"), Cells.from_list(values, string_like=string_like)
    )
    return seal_batch([column])


def _block(
    draws: Draws,
    name: str,
    field_class: FieldClass,
    string_like: bool,
    values: list[bytes | None],
) -> Json:
    sealed = _sealed(field_class, string_like, values)
    (ref,), (block,) = sealed.manifest.blocks, sealed.blocks
    key, batch_id = fixed("a field key"), sealed.manifest.batch_id
    shown = [*range(min(3, len(values)))]
    erased = empty_cells(block, len(values), [1])
    return {
        "name": name,
        "class": int(field_class),
        "string_like": string_like,
        "values": [None if value is None else value.hex() for value in values],
        "field_key": key.hex(),
        "batch_id": batch_id.hex(),
        "drawn": draws.taken(),
        "salt_key": hkdf(key, framed(Label.SALT_KEY)).hex(),
        "salt": ref.salt.hex(),
        "batch_key": hkdf(key, framed(Label.BATCH_KEY, batch_id, ref.salt)).hex(),
        "cell_keys": [cell_key(key, batch_id, ref.salt, i).expose().hex() for i in shown],
        "padding": int(ref.padding),
        "block": block.hex(),
        "block_ref": to_bytes(ref).hex(),
        "second_erased": {"block": erased.hex(), "sha256": hashlib.sha256(erased).hexdigest()},
    }


def _bad_blocks() -> Json:
    values: list[bytes | None] = [b"one", b"two", b"three"]
    sealed = _sealed(FieldClass.GENERAL, True, values)
    (ref,), (block,) = sealed.manifest.blocks, sealed.blocks
    size = (len(block) - 12) // 3
    first, second = block[12 : 12 + size], block[12 + size : 12 + 2 * size]

    def relisted(changed: bytes, **other: Any) -> BlockRef:
        hashed = hashlib.sha256(changed).digest()
        return replace(ref, length=len(changed), sha256=hashed, **other)

    swapped = block[:12] + second + first + block[12 + 2 * size :]
    emptied = empty_cells(block, 3, [1])
    longer = (size + 8).to_bytes(4, "little") + block[4:]
    cases: list[tuple[str, BlockRef, bytes]] = [
        ("another-block", ref, flipped(block, 20)),
        ("a-changed-cell", relisted(flipped(block, 20)), flipped(block, 20)),
        ("cells-swapped", relisted(swapped), swapped),
        ("a-cell-missing", relisted(emptied), emptied),
        ("a-length-that-no-cell-has", relisted(longer), longer),
        ("cut-short", relisted(block[:-1]), block[:-1]),
        ("another-salt", replace(ref, salt=flipped(ref.salt, 0)), block),
        ("another-padding-mode", replace(ref, padding=Padding.MULTIPLE_32), block),
    ]
    return {
        "field_key": fixed("a field key").hex(),
        "class": 0,
        "string_like": True,
        "batch_id": sealed.manifest.batch_id.hex(),
        "records": 3,
        "block_ref": to_bytes(ref).hex(),
        "block": block.hex(),
        "cases": [
            {"name": n, "block_ref": to_bytes(r).hex(), "block": b.hex(), "error": "integrity"}
            for n, r, b in cases
        ],
    }


def manifests(draws: Draws) -> Json:
    from protocol.blocks import split_batch_body
    from protocol.wire import from_bytes

    def column(number: int, *values: bytes | None) -> ColumnToSeal:
        made = Cells.from_list(values, string_like=True)
        return ColumnToSeal(number, 1, FieldClass.GENERAL, fixed(f"key {number}"), made)

    sealed = seal_batch([column(0, b"a", b"b"), column(1, None, b"c")])
    other = seal_batch([column(0x8000, encode({"fields": []}))])
    manifest, raw = sealed.manifest, to_bytes(sealed.manifest)
    batch_id, records, blocks = parts_of(raw)
    one, two = blocks

    def changed(*fields: Value) -> bytes:
        return encode(fields)

    def field(block: Any, number: int) -> Value:
        return (number, *block[1:])

    def large(number: int) -> Value:
        return (number, *one[1:3], LIMITS.block_bytes, *one[4:])

    bad: list[tuple[str, bytes]] = [
        ("fields-out-of-order", changed(batch_id, records, (two, one))),
        ("a-field-twice", changed(batch_id, records, (one, one))),
        ("a-catalog-with-company", changed(batch_id, records, (one, field(two, 0x8000)))),
        ("a-reserved-field", changed(batch_id, records, (field(one, 0x8004),))),
        ("no-block", changed(batch_id, records, ())),
        ("no-record", changed(batch_id, 0, (one,))),
        ("too-many-records", changed(batch_id, 65_537, (one,))),
        ("a-block-too-short-for-its-lengths", changed(batch_id, 65_536, (one,))),
        ("an-unknown-padding-mode", changed(batch_id, records, ((*one[:5], 3),))),
        ("an-id-of-15-bytes", changed(batch_id[:15], records, (one,))),
        ("one-part-more", changed(batch_id, records, (one, two), 0)),
        ("true-for-one", changed(batch_id, True, (one,))),
        ("more-bytes-than-a-batch-has", changed(batch_id, 1, tuple(large(i) for i in range(5)))),
    ]
    body = join_batch_body(manifest, sealed.blocks)
    bodies = [
        ("cut-short", body[:-1]),
        ("trailed", body + b"\x00"),
        ("a-changed-block", flipped(body, len(body) - 1)),
        ("no-room-for-the-manifest", body[:40]),
    ]
    listed = [manifest, other.manifest]
    return {
        "about": "SPEC section 7: addresses, manifests, upload bodies, collection roots",
        "addresses": [
            {
                "collection": a.collection.hex(),
                "field": a.field,
                "epoch": a.epoch,
                "hex": a.encode().hex(),
            }
            for a in (
                Address(COLLECTION, 0, 1),
                Address(COLLECTION, catalog_field(FieldClass.CORE), 2),
                Address(PEOPLE_COLLECTION, PEOPLE_FIELD, 3),
            )
        ],
        "manifest": {"value": plain(decode(raw, max_bytes=4096)), "hex": raw.hex()},
        "blocks": [block.hex() for block in sealed.blocks],
        "upload_body": body.hex(),
        "collection": {
            "manifests": [to_bytes(each).hex() for each in listed],
            "root": root_of([leaf_hash(to_bytes(each)) for each in listed]).hex(),
            "empty_root": EMPTY_ROOT.hex(),
        },
        "invalid": [
            {"name": name, "hex": data.hex(), "error": refusal(from_bytes, Manifest, data)}
            for name, data in bad
        ],
        "invalid_bodies": [
            {"name": name, "hex": data.hex(), "error": refusal(split_batch_body, data)}
            for name, data in bodies
        ],
    }


# --- section 8


def merkle(draws: Draws) -> Json:
    leaves = [bytes((i,)) * i for i in range(9)]
    tree = Tree(map(leaf_hash, leaves))
    inclusion = [
        {"index": i, "size": n, "proof": [h.hex() for h in tree.inclusion_proof(i, n)]}
        for n in range(1, 10)
        for i in range(n)
    ]
    consistency = [
        {"old": m, "new": n, "proof": [h.hex() for h in tree.consistency_proof(m, n)]}
        for n in range(1, 10)
        for m in range(1, n + 1)
    ]
    return {
        "about": "SPEC section 8: the tree of RFC 9162",
        "leaves": [leaf.hex() for leaf in leaves],
        "roots": [tree.root(n).hex() for n in range(len(leaves) + 1)],
        "inclusion": inclusion,
        "consistency": consistency,
        "invalid_inclusion": [
            {"name": "index-beyond-the-size", "index": 7, "size": 7, "as": [6, 7]},
            {"name": "another-index", "index": 5, "size": 7, "as": [4, 7]},
            {"name": "another-size", "index": 6, "size": 8, "as": [6, 7]},
        ],
        "invalid_consistency": [
            {"name": "from-an-empty-tree", "old": 0, "new": 7, "as": [7, 7]},
            {"name": "backwards", "old": 7, "new": 3, "as": [3, 7]},
            {"name": "another-old-size", "old": 4, "new": 7, "as": [3, 7]},
            {"name": "a-proof-where-none-is-due", "old": 7, "new": 7, "as": [3, 7]},
        ],
    }


def checkpoints(draws: Draws) -> Json:
    from protocol.checkpoint import parse_note

    root, size, time = fixed("a root"), 42, NOW
    key = bytes(SERVER.verify_key)
    message = signed_message(VAULT_ID, size, root, time)
    signature = SERVER.sign(message).signature
    good = Checkpoint.verified(VAULT_ID, size, root, time, signature, key)
    note = good.note()
    text, line = note.split(b"\n\n")
    witness = b"\xe2\x80\x94 witness.example " + b"AAAAAAAAAAAA\n"
    other = Checkpoint.verified(
        fixed("another vault"),
        size,
        root,
        time,
        SERVER.sign(signed_message(fixed("another vault"), size, root, time)).signature,
        key,
    ).note()

    def signed(changed: bytes) -> bytes:
        """Sign a text that no checkpoint has, as a careless server might."""
        made = SERVER.sign(cosigned_message(changed, time)).signature
        content = time.to_bytes(8, "big") + made
        key_id = checkpoint_key(VAULT_ID, key).key_id
        return changed + b"\n" + NoteSignature(origin(VAULT_ID), key_id, content).line()

    text += b"\n"
    bad = [
        ("no-empty-line", note.replace(b"\n\n", b"\n")),
        ("no-newline-at-the-end", note[:-1]),
        ("a-leading-zero", signed(text.replace(b"\n42\n", b"\n042\n"))),
        ("a-size-that-is-no-number", signed(text.replace(b"\n42\n", b"\n4_2\n"))),
        ("a-root-of-31-bytes", signed(text[:-45] + base64.b64encode(root[:31]) + b"\n")),
        ("base64-with-stray-bits", signed(text[:-3] + bytes((text[-3] + 1,)) + text[-2:])),
        ("an-empty-log-with-a-root", signed(text.replace(b"\n42\n", b"\n0\n"))),
        ("another-origin", signed(text.replace(VAULT_ID.hex().encode(), b"00" * 32))),
        ("another-size", note.replace(b"\n42\n", b"\n43\n")),
        ("no-signature", text + b"\n"),
        ("two-lines-by-the-key", text + b"\n" + line + line),
        ("only-a-witness", text + b"\n" + witness),
        ("another-log", other),
        ("a-fourth-line", signed(text + b"more\n")),
        ("a-changed-signature", note[:-8] + bytes((note[-8] ^ 1,)) + note[-7:]),
        ("a-carriage-return", note.replace(b"\n42\n", b"\r\n42\n")),
    ]
    return {
        "about": "SPEC section 8: checkpoints as signed notes",
        "server_seed": bytes(SERVER).hex(),
        "server_key": key.hex(),
        "vault_id": VAULT_ID.hex(),
        "size": size,
        "root": root.hex(),
        "time": time,
        "signed": message.hex(),
        "signature": signature.hex(),
        "note": note.hex(),
        "with_a_witness": (note + witness).hex(),
        "invalid": [
            {
                "name": name,
                "note": data.hex(),
                "error": refusal(parse_note, data, VAULT_ID, key),
            }
            for name, data in bad
        ],
    }


# --- section 13


def requests(draws: Draws) -> Json:
    ada = person("Ada")
    url = f"https://vault.example:8443/v1/vaults/{VAULT_ID.hex()}/log?from=7"
    post = f"https://vault.example:8443/v1/vaults/{VAULT_ID.hex()}/acts"
    kind = "application/vnd.sealroom.v1+msgpack"
    longest = "https://vault.example:8443/v1/".ljust(URL_CHARACTERS, "a")
    asked = [("GET", url, b""), ("POST", post, b"\x92\x01\x02"), ("GET", longest, b"")]
    valid = [_request(draws, ada, *each, kind) for each in asked]
    return {
        "about": "SPEC section 13: requests signed with the key of an identity",
        "seed": ada.seed.expose().hex(),
        "public_key": ada.public.signing_key.hex(),
        "keyid": ada.member_id.hex(),
        "valid": valid,
        "invalid": _bad_requests(valid, ada),
    }


def _request(
    draws: Draws, identity: Identity, method: str, url: str, body: bytes, kind: str
) -> Json:
    signed = sign_request(method, url, body, kind, identity.request_key, identity.member_id, NOW)
    host, _, target = url.removeprefix("https://").partition("/")
    headers = [["Host", host], *([name, value] for name, value in signed.items())]
    message = RequestMessage.received(method, "/" + target, [(a, b) for a, b in headers])
    verified = verify_request(message, body_sha256(body), identity.public.signing_key)
    return {
        "method": method,
        "target": "/" + target,
        "headers": headers,
        "body": body.hex(),
        "drawn": draws.taken(),
        "created": NOW,
        "base": verified.base.hex(),
        "request_hash": verified.request_hash.hex(),
    }


def _bad_requests(valid: Sequence[Json], identity: Identity) -> Json:
    get, post, longest = valid
    key = identity.public.signing_key

    def put(case: Json, name: str, change: Callable[[str], str]) -> Json:
        return {**case, "headers": [[n, change(v) if n == name else v] for n, v in case["headers"]]}

    def without(case: Json, name: str) -> Json:
        return {**case, "headers": [h for h in case["headers"] if h[0] != name]}

    def respelled(case: Json, old: str, new: str) -> Json:
        return put(case, "Signature-Input", lambda v: v.replace(old, new))

    def added(case: Json, name: str, value: str) -> Json:
        return {**case, "headers": [*case["headers"], [name, value]]}

    def longer(case: Json) -> Json:
        """Sign a URL with a letter more, as a careless client might."""
        target = case["target"] + "a"
        base = bytes.fromhex(case["base"]).replace(case["target"].encode(), target.encode())
        signature = base64.b64encode(identity.sign(base)).decode()
        return {**put(case, "Signature", lambda _: f"sealroom=:{signature}:"), "target": target}

    def unpadded(value: str) -> str:
        return value.replace("==:", ":")

    def another_letter(value: str) -> str:
        return value[:20] + ("A" if value[20] != "A" else "B") + value[21:]

    other = content_digest(hashlib.sha256(b"another body").digest())
    bad = [
        ("another-method", {**get, "method": "PUT"}),
        ("another-target", {**get, "target": get["target"] + "0"}),
        ("another-host", put(get, "Host", lambda _: "other.example")),
        ("the-default-port", put(get, "Host", lambda _: "vault.example:443")),
        ("a-dot-segment", {**get, "target": "/v1/../v1/server"}),
        ("an-escape-in-the-path", {**get, "target": "/v1/%73erver"}),
        ("no-signature", without(get, "Signature")),
        ("no-signature-input", without(get, "Signature-Input")),
        ("two-signatures", {**get, "headers": [*get["headers"], get["headers"][-1]]}),
        ("another-label", respelled(get, "sealroom=", "other=")),
        ("an-algorithm-parameter", put(get, "Signature-Input", lambda v: v + ';alg="ed25519"')),
        ("another-tag", respelled(get, "v1/request", "v2/request")),
        ("another-time", respelled(get, f"created={NOW}", f"created={NOW + 1}")),
        ("a-component-left-out", respelled(get, ' "@target-uri"', "")),
        ("another-body", {**post, "body": "9201ff"}),
        ("no-body-where-one-was-signed", {**post, "body": ""}),
        ("a-body-where-none-was-signed", {**get, "body": "00"}),
        ("another-digest", put(post, "Content-Digest", lambda _: other)),
        ("no-digest", without(post, "Content-Digest")),
        ("a-digest-without-a-body", added(get, "Content-Digest", other)),
        ("another-content-type", put(post, "Content-Type", lambda _: "text/plain")),
        ("a-content-encoding", added(post, "Content-Encoding", "gzip")),
        ("a-content-encoding-without-a-body", added(get, "Content-Encoding", "identity")),
        ("a-url-of-4097-characters", longer(longest)),
        ("a-signature-without-its-padding", put(get, "Signature", unpadded)),
        ("a-changed-signature", put(get, "Signature", another_letter)),
    ]

    def check(case: Json) -> None:
        message = RequestMessage.received(
            case["method"], case["target"], [(a, b) for a, b in case["headers"]]
        )
        parse_signature(message)
        verify_request(message, body_sha256(bytes.fromhex(case["body"])), key)

    return [
        {
            "name": name,
            **{part: case[part] for part in ("method", "target", "headers", "body")},
            "error": refusal(check, case),
        }
        for name, case in bad
    ]


FILES: Final[dict[str, Callable[[Draws], Json]]] = {
    "encoding": encoding,
    "signatures": signatures,
    "group": group,
    "identities": identities,
    "invites": invites,
    "keys": keys,
    "wraps": wraps,
    "cells": cells,
    "manifests": manifests,
    "documents": documents,
    "merkle": merkle,
    "checkpoints": checkpoints,
    "acts": act_bodies,
    "ledger": ledger,
    "ledger_invites": ledger_invites,
    "recovery": recovery,
    "requests": requests,
}

if __name__ == "__main__":
    write_all()
