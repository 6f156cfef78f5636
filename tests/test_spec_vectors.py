"""Every vector beside SPEC.md through the real code, and some by the text of the spec alone."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import struct
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.signing import SigningKey

from client.columns import Cells
from client.crypto.block_keys import cell_key
from client.crypto.cells import OpenedBlock, mode_of, open_block, open_cell, reseal_block
from client.crypto.derivation import hkdf
from client.crypto.engines import Engine
from client.crypto.identity import Identity
from client.crypto.invites import invite_access_key, invite_identity
from client.crypto.keys import confirmed_field_key, derive_field_key, key_confirmation, share_hash
from client.crypto.secrets import InviteSecret, Seed, Share
from client.crypto.wraps import unwrap
from client.documents.chunks import cut
from client.links import Link, parse_link
from client.words import pair_words
from protocol import acts
from protocol.acts import Role
from protocol.blocks import Address, BlockRef, FieldClass, Manifest, split_batch_body
from protocol.checkpoint import Checkpoint, parse_note, signed_message
from protocol.encoding import Value, decode, encode
from protocol.errors import IntegrityError, MalformedMessage, SealroomError
from protocol.group import Point, Scalar, base_mul
from protocol.identity import IdentityCard, PublicIdentity, verify_card
from protocol.labels import Label, digest, framed
from protocol.ledger import act_leaf
from protocol.merkle import (
    EMPTY_ROOT,
    Tree,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from protocol.requests import (
    RequestMessage,
    VerifiedRequest,
    body_sha256,
    parse_signature,
    verify_request,
)
from protocol.rewrap import RewrapStatement, Wrap, verify_rewrap
from protocol.signing import pae, verify_signature
from protocol.wire import Envelope, from_bytes, pack
from tests import edwards, xwing
from tests.document_vectors import assembled, cell_of
from tests.every_engine import ENGINES, agreed
from tests.fixed_draws import Draws, Json, plain
from tests.make_vectors import FILES, FOLDER, rendered
from tests.shared import vectors as shared_vectors


@cache
def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="ascii"))


def cases(name: str, *path: str) -> Any:
    """Return the named cases of a file as pytest parameters."""
    found = load(name)
    for step in path:
        found = found[step]
    return [pytest.param(case, id=case["name"]) for case in found]


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


def expect(code: str, call: Any, *given: Any) -> None:
    with pytest.raises(SealroomError) as caught:
        call(*given)
    assert caught.value.code == code


# --- the files themselves


@pytest.mark.parametrize("name", FILES)
def test_writing_a_file_again_gives_the_same_bytes(name: str) -> None:
    assert rendered(name) == (FOLDER / f"{name}.json").read_text(encoding="ascii"), (
        "the vectors are of another protocol than the code; if that is meant: "
        "python -m tests.make_vectors"
    )


def test_there_is_no_file_that_nobody_writes() -> None:
    assert {path.stem for path in FOLDER.iterdir() if path.is_file()} == set(FILES)


def test_draws_are_never_the_same_twice() -> None:
    one = Draws("a")
    assert len({one(32), one(32), Draws("b")(32)}) == 3
    assert Draws("a")(32).hex() == one.taken()[0]


@pytest.mark.parametrize("case", range(3))
def test_the_second_x_wing_is_that_of_the_draft(case: int) -> None:
    vector = shared_vectors("xwing", "draft-connolly-test-vectors.json")[case]
    shared, sent = xwing.encapsulate(raw(vector["pk"]), raw(vector["eseed"]))
    assert (shared.hex(), sent.hex()) == (vector["ss"], vector["ct"])


# --- section 2


def value_of(written: Json) -> Value:
    match written:
        case {"int": text}:
            return int(text)
        case {"hex": text}:
            return raw(text)
        case {"map": pairs}:
            return {key: value_of(value) for key, value in pairs}
        case list():
            return tuple(map(value_of, written))
    return written  # type: ignore[no-any-return]


@pytest.mark.parametrize("case", cases("encoding", "valid"))
def test_a_value_has_its_one_form(case: Json) -> None:
    value = value_of(case["value"])
    assert encode(value).hex() == case["hex"]
    assert decode(raw(case["hex"]), max_bytes=4096) == value
    assert plain(value) == case["value"]


@pytest.mark.parametrize("case", cases("encoding", "invalid"))
def test_any_other_form_is_refused(case: Json) -> None:
    with pytest.raises(SealroomError) as caught:
        decode(raw(case["hex"]), max_bytes=4096)
    assert caught.value.code == case["error"]


@pytest.mark.parametrize("case", load("encoding")["framed"])
def test_framing_is_lengths_and_parts(case: Json) -> None:
    parts = list(map(raw, case["parts"]))
    pieces = [case["label"].encode(), *parts]
    assert raw(case["framed"]) == b"".join(struct.pack(">I", len(p)) + p for p in pieces)
    assert framed(Label(pieces[0]), *parts).hex() == case["framed"]
    assert digest(Label(pieces[0]), *parts).hex() == case["digest"]
    assert hashlib.sha256(raw(case["framed"])).hexdigest() == case["digest"]


def test_what_is_signed() -> None:
    found = load("signatures")
    case, key = found["pae"], SigningKey(raw(found["seed"]))
    kind, body = case["type"].encode(), raw(case["body"])
    assert raw(case["pae"]) == b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)
    assert pae(Label(kind), body).hex() == case["pae"]
    assert key.sign(raw(case["pae"])).signature.hex() == case["signature"]
    envelope = from_bytes(Envelope, raw(case["envelope"]))
    assert envelope.verify(raw(found["public_key"]), Label.OBSERVATION) == body
    assert decode(raw(case["envelope"]), max_bytes=4096) == (kind, body, raw(case["signature"]))


def test_a_valid_signature_verifies() -> None:
    for case in load("signatures")["valid"]:
        verify_signature(raw(case["key"]), raw(case["message"]), raw(case["signature"]))


@pytest.mark.parametrize("case", cases("signatures", "invalid"))
def test_no_other_signature_verifies(case: Json) -> None:
    given = (raw(case["key"]), raw(case["message"]), raw(case["signature"]))
    expect(case["error"], verify_signature, *given)


# --- section 3


def test_multiples_of_the_generator() -> None:
    found = load("group")
    assert edwards.encode(edwards.BASE).hex() == found["generator"]
    for case in found["multiples"]:
        scalar = int.from_bytes(raw(case["scalar"]), "little")
        assert edwards.encode(edwards.mul(scalar, edwards.BASE)).hex() == case["point"]
        assert bytes(base_mul(raw(case["scalar"]))).hex() == case["point"]


def test_wide_bytes_are_reduced() -> None:
    case = load("group")["reduction"]
    assert bytes(Scalar.reduced(raw(case["wide"]))).hex() == case["scalar"]
    assert _reduced(raw(case["wide"])).hex() == case["scalar"]


def _reduced(wide: bytes) -> bytes:
    return (int.from_bytes(wide, "little") % edwards.L).to_bytes(32, "little")


@pytest.mark.parametrize("case", cases("group", "invalid_points"))
def test_points_that_are_refused(case: Json) -> None:
    expect(case["error"], Point.from_bytes, raw(case["hex"]))


@pytest.mark.parametrize("case", cases("group", "invalid_scalars"))
def test_scalars_that_are_refused(case: Json) -> None:
    expect(case["error"], Scalar.from_bytes, raw(case["hex"]))


# --- section 4


@pytest.mark.parametrize("case", load("identities")["identities"])
def test_a_seed_gives_its_keys(case: Json) -> None:
    identity = Identity(Seed(raw(case["seed"])))
    keys = [case["signing_key"], case["kem_key"], case["rewrap_key"]]
    assert list(map(bytes.hex, identity.public.keys())) == keys
    assert identity.member_id.hex() == case["member_id"]
    assert bytes(SigningKey(raw(case["signing_seed"])).verify_key).hex() == case["signing_key"]
    assert _reduced(raw(case["rewrap_wide"])).hex() == case["rewrap_scalar"]
    assert identity.rewrap_scalar.expose().hex() == case["rewrap_scalar"]
    scalar = int.from_bytes(raw(case["rewrap_scalar"]), "little")
    assert edwards.encode(edwards.mul(scalar, edwards.BASE)).hex() == case["rewrap_key"]


def test_a_card_is_as_the_specification_says() -> None:
    case = load("identities")["card"]
    card = from_bytes(IdentityCard, raw(case["card"]))
    identity = Identity(Seed(raw(case["seed"])))
    assert verify_card(card, raw(case["context"])) == identity.public
    assert identity.sign(raw(case["signed"])) == card.signature
    script = case["transcript"]
    _check_nonces(case["seed"], script, case["nonces"])
    challenge, response = card.proof[:32], card.proof[32:]
    witness = [identity.rewrap_scalar.expose()]
    _check_transcript(script, challenge)
    nonces = [raw(each["nonce"]) for each in case["nonces"]]
    assert [response] == _responses(challenge, witness, nonces)
    assert script["commitments"] == [_times(nonces[0], edwards.BASE).hex()]


def test_a_joiner_s_card_is_for_its_invite() -> None:
    case = load("identities")["joining"]
    assert case["context"] == case["vault_id"] + case["invite"]
    card = from_bytes(IdentityCard, raw(case["card"]))
    identity = Identity(Seed(raw(load("identities")["card"]["seed"])))
    assert verify_card(card, raw(case["context"])) == identity.public
    parts = [raw(case["context"]), *identity.public.keys()]
    assert identity.sign(framed(Label.IDENTITY_SIGNATURE, *parts)) == card.signature


@pytest.mark.parametrize("use", ["rotating", "rebuilding"])
def test_the_card_of_a_new_identity_is_for_its_use(use: str) -> None:
    case = load("identities")[use]
    rest = case["replaced"] if use == "rotating" else b"recovery".hex()
    assert case["context"] == case["vault_id"] + rest
    assert len(raw(case["context"])) == (64 if use == "rotating" else 40)
    card = from_bytes(IdentityCard, raw(case["card"]))
    identity = Identity(Seed(raw(load("identities")["card"]["seed"])))
    assert verify_card(card, raw(case["context"])) == identity.public


def _check_nonces(seed: str, script: Json, nonces: list[Json]) -> None:
    """Derive each nonce from the seed, the statement and what was drawn."""
    for number, each in enumerate(nonces):
        parts = [raw(script["statement_digest"]), number.to_bytes(2, "big"), raw(each["random"])]
        assert framed(Label.SEED_NONCE, *parts).hex() == each["info"]
        assert _reduced(hkdf(raw(seed), raw(each["info"]), length=64)).hex() == each["nonce"]


def _check_transcript(script: Json, challenge: bytes) -> None:
    """Put the transcript together from its parts, and hash it."""
    label, statement = Label(script["label"].encode()), list(map(raw, script["statement"]))
    assert digest(label, *statement).hex() == script["statement_digest"]
    parts = [*statement, *map(raw, script["commitments"])]
    assert framed(label, *parts).hex() == script["hashed"]
    assert _reduced(hashlib.sha512(raw(script["hashed"])).digest()) == challenge
    assert challenge.hex() == script["challenge"]


def _responses(challenge: bytes, witness: list[bytes], nonces: list[bytes]) -> list[bytes]:
    def number(data: bytes) -> int:
        return int.from_bytes(data, "little")

    return [
        ((number(challenge) * number(x) + number(r)) % edwards.L).to_bytes(32, "little")
        for x, r in zip(witness, nonces, strict=True)
    ]


def _times(scalar: bytes, point: tuple[int, int]) -> bytes:
    return edwards.encode(edwards.mul(int.from_bytes(scalar, "little"), point))


@pytest.mark.parametrize("case", cases("identities", "invalid_cards"))
def test_no_other_card_is_taken(case: Json) -> None:
    def check() -> None:
        verify_card(from_bytes(IdentityCard, raw(case["card"])), raw(case["context"]))

    expect(case["error"], check)


def test_words_are_these() -> None:
    for case in load("identities")["words"]:
        one, other = map(raw, case["members"])
        assert pair_words(raw(case["vault_id"]), one, other) == case["words"]
        assert pair_words(raw(case["vault_id"]), other, one) == case["words"]


def test_a_link_s_secret_gives_its_identity() -> None:
    case = load("invites")
    secret = InviteSecret(raw(case["secret"]))
    identity = invite_identity(
        secret,
        raw(case["vault_id"]),
        raw(case["inviter"]),
        Role(case["role"]),
        case["expiry"],
        case["cited_size"],
        raw(case["cited_root"]),
    )
    assert identity.seed.expose().hex() == case["seed"]
    assert identity.member_id.hex() == case["invite_id"]
    access = bytes(invite_access_key(secret).verify_key)
    assert access.hex() == case["access_key"]
    assert digest(Label.ACCESS_KEY_ID, access).hex() == case["access_key_id"]


@pytest.mark.parametrize("case", load("invites")["links"])
def test_a_link_has_its_one_form(case: Json) -> None:
    pin = None if case["pin"] is None else raw(case["pin"])
    secret = InviteSecret(raw(case["secret"]))
    link = Link(case["host"], raw(case["vault_id"]), secret, pin)
    assert link.text() == case["link"]
    assert parse_link(case["link"]) == link


@pytest.mark.parametrize("case", cases("invites", "invalid_links"))
def test_no_other_link_is_taken(case: Json) -> None:
    expect(case["error"], parse_link, case["link"])


# --- sections 5 and 6


def test_a_field_key_is_this() -> None:
    case = load("keys")
    vault_id, share = raw(case["vault_id"]), Share(raw(case["share"]))
    address = Address(raw(case["collection"]), case["field"], case["epoch"])
    scalar = _reduced(raw(case["k_wide"]))
    assert _times(scalar, edwards.BASE).hex() == case["group_key"]
    assert address.encode().hex() == case["address"]
    key = derive_field_key(vault_id, address, Point.from_bytes(raw(case["group_key"])), share)
    assert key.expose().hex() == case["field_key"]
    assert share_hash(share).hex() == case["share_hash"]
    assert key_confirmation(key).hex() == case["confirmation"]
    info = framed(Label.FIELD_KEY, raw(case["address"]))
    prk = hmac.digest(vault_id, raw(case["group_key"] + case["share"]), "sha256")
    assert hmac.digest(prk, info + b"\x01", "sha256").hex() == case["field_key"]


def statement_of(case: Json) -> RewrapStatement:
    packed = raw(case["address"])
    return RewrapStatement(
        raw(case["vault_id"]),
        case["kind"],
        Address(
            packed[:16], int.from_bytes(packed[16:18], "big"), int.from_bytes(packed[18:], "big")
        ),
        raw(case["share_hash"]),
        from_bytes(PublicIdentity, raw(case["source"])),
        Wrap.from_bytes(raw(case["source_wrap"])),
        from_bytes(PublicIdentity, raw(case["recipient"])),
        Wrap.from_bytes(raw(case["wrap"])),
    )


def test_a_rewrap_verifies_and_opens_to_the_same_key() -> None:
    found = load("wraps")
    first, case = found["first_wrap"], found["rewrap"]
    statement = statement_of(case)
    verify_rewrap(statement, raw(case["proof"]))
    for party in ("source", "recipient"):
        identity = Identity(Seed(raw(found[party]["seed"])))
        wrap = statement.source_wrap if party == "source" else statement.wrap
        assert bytes(unwrap(identity, wrap)).hex() == first["group_key"]
    key = confirmed_field_key(
        statement.vault_id,
        statement.address,
        Point.from_bytes(raw(first["group_key"])),
        Share(raw(first["share"])),
        published_share_hash=raw(first["share_hash"]),
        published_confirmation=raw(first["confirmation"]),
    )
    assert key_confirmation(key).hex() == first["confirmation"]


def test_a_rewrap_is_as_the_specification_says() -> None:
    """The transcript, the nonces and the responses, with no code of this project but framing."""
    found = load("wraps")
    case, source = found["rewrap"], found["source"]
    script, proof = case["transcript"], raw(case["proof"])
    challenge, responses = proof[:32], [proof[32:64], proof[64:]]
    _check_transcript(script, challenge)
    _check_nonces(source["seed"], script, case["nonces"])
    parts = [raw(case["vault_id"]), raw(case["address"]), raw(found["recipient"]["member_id"])]
    drawn, context = raw(case["drawn"][0]), [*parts, raw(case["source_wrap"])]
    wide = hkdf(raw(source["seed"]), framed(Label.SEED_NONCE, *context, drawn), length=64)
    scalar = _reduced(wide)
    witness = [raw(source["rewrap_scalar"]), scalar]
    nonces = [raw(each["nonce"]) for each in case["nonces"]]
    assert responses == _responses(challenge, witness, nonces)
    assert _times(scalar, edwards.BASE).hex() == case["wrap"][:64]
    assert script["statement"][:8] == _context_of(case, found)
    assert script["statement"][8:] == _equations_of(case, found)


def _context_of(case: Json, found: Json) -> list[str]:
    return [
        case["vault_id"],
        case["kind"].encode().hex(),
        case["address"],
        case["share_hash"],
        found["source"]["member_id"],
        found["recipient"]["member_id"],
        case["source_wrap"],
        case["wrap"],
    ]


def _equations_of(case: Json, found: Json) -> list[str]:
    """Write the three equations out as section 3 says: image, then terms."""
    a, b = raw(case["source_wrap"]), raw(case["wrap"])
    x, y = edwards.decode(a[32:]) or (0, 1)
    difference = edwards.add(edwards.decode(b[32:]) or (0, 1), ((-x) % edwards.P, y))
    return [
        "0203",
        found["source"]["rewrap_key"] + "01",
        "0001",
        b[:32].hex() + "01",
        "0101",
        edwards.encode(difference).hex() + "02",
        "0101" + found["recipient"]["rewrap_key"],
        "00ff" + a[:32].hex(),
    ]


@pytest.mark.parametrize("case", cases("wraps", "invalid_rewraps"))
def test_no_other_rewrap_verifies(case: Json) -> None:
    expect(case["error"], verify_rewrap, statement_of(case), raw(case["proof"]))


def test_a_box_is_this() -> None:
    found = load("wraps")
    case, recipient = found["box"], Identity(Seed(raw(found["recipient"]["seed"])))
    address = raw(found["rewrap"]["address"])
    entry = (recipient.member_id, raw(found["rewrap"]["wrap"]), raw(found["rewrap"]["proof"]))
    field, epoch = int.from_bytes(address[16:18], "big"), int.from_bytes(address[18:], "big")
    part = encode(
        ((("wraps", (address[:16], field, epoch, (entry,)))),),
    )
    assert part.hex() == case["wraps_part"]
    listed = address + raw(found["rewrap"]["share_hash"]) + hashlib.sha256(b"\0" + part).digest()
    parts = [raw(found["rewrap"]["vault_id"]), case["kind"].encode(), raw(case["author"])]
    info = digest(Label.SHARE_BOX, *parts, raw(case["recipient"]), listed)
    assert info.hex() == case["info"]
    plaintext, box = raw(case["plaintext"]), raw(case["box"])
    assert xwing.seal(recipient.public.kem_key, plaintext, info, raw(case["coins"])) == box
    assert recipient.open_box(box, info) == plaintext
    with pytest.raises(IntegrityError):
        recipient.open_box(box, info[::-1])


# --- section 7


def block_ref(case: Json) -> BlockRef:
    return from_bytes(BlockRef, raw(case["block_ref"]))


def opened(case: Json, block: str, erased: frozenset[int] = frozenset(), **other: Any) -> Cells:
    def opening(engine: Engine) -> OpenedBlock:
        return open_block(
            raw(case["field_key"]),
            FieldClass(case["class"]),
            other.get("ref") or block_ref(case),
            raw(case["batch_id"]),
            other.get("records") or len(case["values"]),
            raw(block),
            case["string_like"],
            erased,
            engine,
        )

    return agreed(opening).cells


def values(cells: Cells) -> list[str | None]:
    return [None if (v := cells.cell(i)) is None else v.hex() for i in range(cells.count)]


@pytest.mark.parametrize("case", cases("cells", "blocks"))
def test_a_block_opens_to_its_values(case: Json) -> None:
    assert values(opened(case, case["block"])) == case["values"]
    cells = [None if value is None else raw(value) for value in case["values"]]
    column = Cells.from_list(cells, string_like=case["string_like"])
    for engine in ENGINES:
        assert int(mode_of(column, FieldClass(case["class"]), engine)) == case["padding"]


@pytest.mark.parametrize("case", cases("cells", "other_modes"))
def test_a_reader_takes_either_mode_of_the_class(case: Json) -> None:
    assert values(opened(case, case["block"])) == case["values"]
    cells = [None if value is None else raw(value) for value in case["values"]]
    column = Cells.from_list(cells, string_like=case["string_like"])
    for engine in ENGINES:
        assert int(mode_of(column, FieldClass(case["class"]), engine)) != case["padding"]


@pytest.mark.parametrize("case", [*cases("cells", "blocks"), *cases("cells", "other_modes")])
def test_a_block_is_as_the_specification_says(case: Json) -> None:
    """Key schedule, padding and cells, with AES and HMAC alone."""
    key, batch_id, salt = raw(case["field_key"]), raw(case["batch_id"]), raw(case["salt"])
    assert hkdf(key, framed(Label.SALT_KEY)).hex() == case["salt_key"]
    assert hkdf(key, framed(Label.BATCH_KEY, batch_id, salt)).hex() == case["batch_key"]
    block, count = raw(case["block"]), len(case["values"])
    lengths = struct.unpack_from(f"<{count}I", block)
    keystream = Cipher(algorithms.AES(raw(case["batch_key"])), modes.CTR(bytes(16))).encryptor()
    keys, at = keystream.update(bytes(32 * count)), 4 * count
    padded = []
    for i, length in enumerate(lengths):
        one = AESGCM(keys[32 * i : 32 * i + 32])
        padded.append(one.decrypt(bytes(12), block[at : at + length], None))
        at += length
    assert at == len(block)
    for value, cell in zip(case["values"], padded, strict=True):
        content = b"" if value is None else raw(value) + b"\x80"
        assert cell == content + bytes(len(cell) - len(content))
    plaintext = b"".join(struct.pack("<I", len(cell)) for cell in padded) + b"".join(padded)
    drawn = raw(case["drawn"][1]) + hashlib.sha256(plaintext).digest()
    assert hmac.digest(raw(case["salt_key"]), drawn, "sha256")[:16] == salt
    assert case["drawn"][0] == case["batch_id"]
    assert [keys[32 * i : 32 * i + 32].hex() for i in range(3)] == case["cell_keys"]


@pytest.mark.parametrize("case", cases("cells", "resealed"))
def test_a_block_sealed_again_opens_to_what_was_left(case: Json) -> None:
    erased = frozenset(case["erased"])
    old = case | {"field_key": case["old_field_key"], "block_ref": case["old_block_ref"]}
    for sealed, block in ((old, case["old_block"]), (case, case["block"])):
        assert values(opened(sealed, block, erased)) == case["values"]
        with pytest.raises(IntegrityError):
            opened(sealed, block, erased ^ {0})
    assert block_ref(case).epoch == block_ref(old).epoch + 1


@pytest.mark.parametrize("case", cases("cells", "resealed"))
def test_a_block_is_sealed_again_as_the_specification_says(
    case: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Salt and keys with AES and HMAC alone; then the bytes, by every engine."""
    count, block = len(case["values"]), raw(case["block"])
    key, batch_id, salt = raw(case["field_key"]), raw(case["batch_id"]), raw(case["salt"])
    stream = Cipher(algorithms.AES(batch_key(key, batch_id, salt)), modes.CTR(bytes(16)))
    keys, at, padded = stream.encryptor().update(bytes(32 * count)), 4 * count, []
    for i, length in enumerate(struct.unpack_from(f"<{count}I", block)):
        sealed = block[at : at + length]
        one = AESGCM(keys[32 * i : 32 * i + 32])
        padded.append(one.decrypt(bytes(12), sealed, None) if length else b"")
        at += length
    plaintext = b"".join(struct.pack("<I", len(cell)) for cell in padded) + b"".join(padded)
    drawn = raw(case["drawn"][0]) + hashlib.sha256(plaintext).digest()
    assert hmac.digest(raw(case["salt_key"]), drawn, "sha256")[:16] == salt
    monkeypatch.setattr(secrets, "token_bytes", lambda size: raw(case["drawn"][0]))
    for engine in ENGINES:
        made, again = reseal_block(
            raw(case["old_field_key"]),
            key,
            FieldClass(case["class"]),
            from_bytes(BlockRef, raw(case["old_block_ref"])),
            block_ref(case).epoch,
            batch_id,
            count,
            raw(case["old_block"]),
            case["string_like"],
            frozenset(case["erased"]),
            engine,
        )
        assert (made, again) == (block_ref(case), block)


def batch_key(key: bytes, batch_id: bytes, salt: bytes) -> bytes:
    return hkdf(key, framed(Label.BATCH_KEY, batch_id, salt))


@pytest.mark.parametrize("case", [*cases("cells", "blocks"), *cases("cells", "other_modes")])
def test_padded_lengths_are_those_of_the_mode(case: Json) -> None:
    count, unit = len(case["values"]), 32 if case["class"] == 2 else 16
    lengths = [n - 16 for n in struct.unpack_from(f"<{count}I", raw(case["block"]))]
    needed = [1 if value is None else len(raw(value)) + 1 for value in case["values"]]

    def up(size: int) -> int:
        return -(-size // unit) * unit

    if case["padding"] != 0:
        assert lengths == list(map(up, needed))
    elif up(max(needed)) <= 1024:
        assert lengths == [up(max(needed))] * count
    else:
        assert lengths == [max(1024, 1 << (size - 1).bit_length()) for size in needed]


@pytest.mark.parametrize("case", cases("cells", "blocks"))
def test_a_block_opens_with_a_cell_erased(case: Json) -> None:
    erased, ref = case["second_erased"], block_ref(case)
    changed = BlockRef(
        ref.field,
        ref.epoch,
        ref.salt,
        len(raw(erased["block"])),
        raw(erased["sha256"]),
        ref.padding,
    )
    found = values(opened(case, erased["block"], frozenset({1}), ref=changed))
    assert found == [None if i == 1 else value for i, value in enumerate(case["values"])]


@pytest.mark.parametrize("case", cases("cells", "blocks"))
def test_a_cell_opens_under_its_own_key(case: Json) -> None:
    count, block = len(case["values"]), raw(case["block"])
    first = struct.unpack_from("<I", block)[0]
    key = cell_key(raw(case["field_key"]), raw(case["batch_id"]), raw(case["salt"]), 0)
    value = open_cell(key, block[4 * count : 4 * count + first])
    assert (None if value is None else value.hex()) == case["values"][0]


@pytest.mark.parametrize("case", cases("cells", "invalid", "cases"))
def test_no_other_block_opens(case: Json) -> None:
    around = load("cells")["invalid"]
    assert values(opened(around, around["block"], records=3))  # the control
    ref = block_ref(case)

    def check() -> None:
        opened(around, case["block"], ref=ref, records=3)

    expect(case["error"], check)


def test_addresses_and_manifests_are_these() -> None:
    found = load("manifests")
    for case in found["addresses"]:
        address = Address(raw(case["collection"]), case["field"], case["epoch"])
        assert address.encode().hex() == case["hex"]
    manifest = from_bytes(Manifest, raw(found["manifest"]["hex"]))
    assert plain(pack(manifest)) == found["manifest"]["value"]
    body = split_batch_body(raw(found["upload_body"]))
    assert body.manifest == manifest
    assert [block.hex() for block in body.blocks] == found["blocks"]
    listed = [leaf_hash(raw(each)) for each in found["collection"]["manifests"]]
    assert root_of(listed).hex() == found["collection"]["root"]
    assert EMPTY_ROOT.hex() == found["collection"]["empty_root"]


@pytest.mark.parametrize("case", cases("manifests", "invalid"))
def test_no_other_manifest_is_taken(case: Json) -> None:
    expect(case["error"], from_bytes, Manifest, raw(case["hex"]))


@pytest.mark.parametrize("case", cases("manifests", "invalid_bodies"))
def test_no_other_upload_body_is_taken(case: Json) -> None:
    expect(case["error"], split_batch_body, raw(case["hex"]))


@pytest.mark.parametrize("case", cases("documents", "documents"))
def test_a_document_is_its_chunks_and_nothing_else(case: Json) -> None:
    content = assembled(case)
    assert (len(content), hashlib.sha256(content).hexdigest()) == (case["size"], case["sha256"])
    cells = list(cut(raw(case["document"]), case["size"], 0, content))
    assert cells == [cell_of(chunk) for chunk in case["chunks"]]


@pytest.mark.parametrize("case", cases("documents", "invalid"))
def test_no_other_chunks_are_a_document(case: Json) -> None:
    expect(case["error"], assembled, case)


# --- section 8


def proof_of(found: Json, kind: str, one: int, other: int) -> list[bytes]:
    first, second = ("index", "size") if kind == "inclusion" else ("old", "new")
    (case,) = [c for c in found[kind] if (c[first], c[second]) == (one, other)]
    return list(map(raw, case["proof"]))


def test_the_tree_is_that_of_rfc_9162() -> None:
    found = load("merkle")
    leaves = list(map(raw, found["leaves"]))
    tree = Tree(map(leaf_hash, leaves))
    assert [tree.root(n).hex() for n in range(len(leaves) + 1)] == found["roots"]
    for case in found["inclusion"]:
        index, size = case["index"], case["size"]
        proof = list(map(raw, case["proof"]))
        root = raw(found["roots"][size])
        verify_inclusion(leaf_hash(leaves[index]), index, size, proof, root)
        assert tuple(proof) == tree.inclusion_proof(index, size)
    for case in found["consistency"]:
        old, new, proof = case["old"], case["new"], list(map(raw, case["proof"]))
        verify_consistency(old, raw(found["roots"][old]), new, raw(found["roots"][new]), proof)
        assert tuple(proof) == tree.consistency_proof(old, new)


@pytest.mark.parametrize("case", cases("merkle", "invalid_inclusion"))
def test_no_leaf_is_proved_elsewhere(case: Json) -> None:
    found = load("merkle")
    proof = proof_of(found, "inclusion", *case["as"])
    leaf = leaf_hash(raw(found["leaves"][case["as"][0]]))
    with pytest.raises((MalformedMessage, IntegrityError)):
        verify_inclusion(leaf, case["index"], case["size"], proof, raw(found["roots"][7]))


@pytest.mark.parametrize("case", cases("merkle", "invalid_consistency"))
def test_no_other_growth_is_proved(case: Json) -> None:
    found = load("merkle")
    proof = proof_of(found, "consistency", *case["as"])
    old, new = raw(found["roots"][case["old"]]), raw(found["roots"][case["new"]])
    with pytest.raises((MalformedMessage, IntegrityError)):
        verify_consistency(case["old"], old, case["new"], new, proof)


def test_a_checkpoint_is_this() -> None:
    found = load("checkpoints")
    vault_id, root, key = (raw(found[part]) for part in ("vault_id", "root", "server_key"))
    size, time = found["size"], found["time"]
    assert signed_message(vault_id, size, root, time).hex() == found["signed"]
    signature = SigningKey(raw(found["server_seed"])).sign(raw(found["signed"])).signature
    assert signature.hex() == found["signature"]
    good = Checkpoint.verified(vault_id, size, root, time, signature, key)
    assert good.note().hex() == found["note"]
    assert parse_note(raw(found["note"]), vault_id, key) == good
    assert parse_note(raw(found["with_a_witness"]), vault_id, key) == good


@pytest.mark.parametrize("case", cases("checkpoints", "invalid"))
def test_no_other_note_is_a_checkpoint(case: Json) -> None:
    found = load("checkpoints")
    given = (raw(case["note"]), raw(found["vault_id"]), raw(found["server_key"]))
    expect(case["error"], parse_note, *given)


@pytest.mark.parametrize("case", [pytest.param(c, id=c["kind"]) for c in load("acts")["acts"]])
def test_an_act_of_every_kind_has_its_one_form(case: Json) -> None:
    envelope, act = acts.parse_envelope(raw(case["envelope"]))
    assert (act.kind, act.author.hex(), act.number) == (
        case["kind"],
        case["author"],
        case["number"],
    )
    assert envelope.body.hex() == case["body"] == act.body().hex()
    assert encode(value_of(case["value"])).hex() == case["body"]
    assert pae(Label.ACT, envelope.body).hex() == case["signed"]
    assert envelope.signature.hex() == case["signature"]
    assert leaf_hash(act_leaf(raw(case["envelope"]))).hex() == case["leaf_hash"]


def test_every_kind_has_an_example() -> None:
    assert [case["kind"] for case in load("acts")["acts"]] == list(acts.KINDS)


@pytest.mark.parametrize("case", cases("acts", "invalid"))
def test_no_other_body_is_an_act(case: Json) -> None:
    expect(case["error"], acts.parse_body, raw(case["body"]))


# --- section 13


def verified(case: Json) -> VerifiedRequest:
    headers = [(name, value) for name, value in case["headers"]]
    message = RequestMessage.received(case["method"], case["target"], headers)
    parse_signature(message)
    key = raw(load("requests")["public_key"])
    return verify_request(message, body_sha256(raw(case["body"])), key)


@pytest.mark.parametrize("case", load("requests")["valid"])
def test_a_request_is_as_the_specification_says(case: Json) -> None:
    found = verified(case)
    assert found.base.hex() == case["base"]
    assert found.request_hash.hex() == case["request_hash"]
    fields = {name.lower(): value for name, value in case["headers"]}
    url = f"https://{fields['host']}{case['target']}"
    lines = [f'"@method": {case["method"]}', f'"@target-uri": {url}']
    if case["body"]:
        lines += [f'"{name}": {fields[name]}' for name in ("content-type", "content-digest")]
    covered = fields["signature-input"].removeprefix("sealroom=")
    lines.append(f'"@signature-params": {covered}')
    assert "\n".join(lines) == found.base.decode()
    assert found.signature.created == case["created"]
    assert found.signature.nonce.hex() == case["drawn"][0]


@pytest.mark.parametrize("case", cases("requests", "invalid"))
def test_no_other_request_is_taken(case: Json) -> None:
    expect(case["error"], verified, case)
