"""Where the corpus begins: honest inputs for every parser, from the tests' own samples."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from client.crypto.identity import Identity
from client.crypto.secrets import InviteSecret, Seed
from client.keyring import Keyring, StoredIdentity, VaultEntry
from client.keyring_file import _FIELDS, _MAGIC
from client.kits import Kit
from client.links import Link
from client.recovery import REQUEST_PREFIX, Request
from client.request_signing import sign_request
from protocol import acts, api
from protocol.blocks import BlockRef, FieldClass, Manifest, Padding, join_batch_body, join_bundle
from protocol.checkpoint import Checkpoint, checkpoint_key, signed_message
from protocol.encoding import encode
from protocol.identity import recovery_context
from protocol.labels import Label
from protocol.ledger.sides import WrapsPart, parse_part
from protocol.observations import ObservationBody
from protocol.wire import Envelope, pae, to_bytes
from tests.act_samples import AUTHOR, SAMPLES, SERVER, sample, signed
from tests.fuzzing.parsers import SERVER_KEY, VAULT
from tests.world import World, of_class

TIME = 1_800_000_000
SIZES = (32, 0, 48)


def seeds() -> Mapping[str, list[bytes]]:
    """Return honest inputs by parser, a new draw of keys each time."""
    world = _world()
    everything = [signed(sample(kind)) for kind in SAMPLES]
    parts = [part for _, sides in world.leaves for part in sides]
    note = _checkpoint().note()
    body = join_batch_body(_manifest((_block(),)), [_block()])
    return {
        "value": [encode((1, -1, b"b", "t", None, True, (1, (2, ())))), encode({"a": 1, "b": ()})],
        "act": everything,
        "envelope": [everything[0], to_bytes(_observation())],
        "manifest": [to_bytes(_manifest((_block(),))), to_bytes(_manifest((_block(), _block())))],
        "part": sorted(parts, key=len)[:: max(1, len(parts) // 4)],
        "wrap": [bytes(wrap) for wrap in list(world.wraps.values())[:2]],
        "proof": _proofs(parts)[:2],
        "observation": [_observation().body],
        "batch": [body],
        "bundle": [join_bundle([body]), join_bundle([body, b"", body])],
        "block": [len(SIZES).to_bytes(2, "big") + _block(), b"\0\0"],
        "note": [note, note + note.splitlines(keepends=True)[-1]],
        "checkpoint": [
            note,
            note + "— other.example/key Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp".encode(),
        ],
        "verifier key": [_verifier_key()],
        "request head": [_head(b"body"), _head(None)],
        "create vault": [to_bytes(api.CreateVault("t" * 20, world.leaves[0][0][1:]))],
        "submit act": [
            to_bytes(api.SubmitAct(leaf[1:], sides)) for leaf, sides in world.leaves[1:4]
        ],
        "fetch blocks": [to_bytes(_wanted())],
        "log page": [to_bytes(_page(world, note))],
        "submitted": [
            to_bytes(api.Submitted(3, note, None)),
            to_bytes(api.Submitted(3, note, api.Receipt((b"h" * 32,), (b"i" * 32,) * 2))),
        ],
        "staged": [to_bytes(api.Staged((b"a" * 16, b"b" * 16)))],
        "server info": [
            to_bytes(api.ServerInfo((1,), SERVER_KEY, TIME, True, (api.LimitValue("x", 1),)))
        ],
        "consistency": [to_bytes(api.ConsistencyProof((b"h" * 32,) * 3))],
        "observations": [
            to_bytes(
                api.ObservationsPage((api.Observation(3, b"s" * 32, to_bytes(_observation())),))
            )
        ],
        "error": [to_bytes(api.ErrorBody("malformed", "said", "hint", TIME))],
        "keyring file": [_keyring_file()],
        "keyring": [to_bytes(_keyring())],
        "link": [
            Link("vault.example:8443", VAULT, InviteSecret(b"s" * 32), pin).text().encode()
            for pin in (None, b"p" * 32)
        ],
        "kit": [_kit().code().encode(), b"<p>" + _kit().code().encode().replace(b"A", b"\nA")],
        "words": [_kit().words().encode()],
        "rescue": [_rescue()],
        "csv": [
            b'id,name,born\n1,Ann,1980-01-02\n2,"Bo, ""x""",1990-12-31\n',
            "name;Größe\r\nJürgen;1,5\r\n\r\nSumme;1,5\r\n".encode("cp1252"),
            "\ufeffa\tb\n1\t\n".encode("utf-16"),
            b"Report of May\n\na|b\n1|2\n3|4\n",
        ],
    }


def _world() -> World:
    world = World()
    world.people()
    collection = world.collection(FieldClass.GENERAL, FieldClass.CORE)
    world.commit(world.owner, collection, world.records(collection))
    world.member(acts.Role.BIDDER, (of_class(FieldClass.GENERAL),))
    return world


def _block() -> bytes:
    return b"".join(size.to_bytes(4, "little") for size in SIZES) + b"c" * sum(SIZES)


def _manifest(blocks: tuple[bytes, ...]) -> Manifest:
    return Manifest(
        b"b" * 16,
        len(SIZES),
        tuple(
            BlockRef(at, 1, b"s" * 16, len(one), hashlib.sha256(one).digest(), Padding.UNIFORM)
            for at, one in enumerate(blocks)
        ),
    )


def _proofs(parts: list[bytes]) -> list[bytes]:
    found = [part for part in map(parse_part, parts) if isinstance(part, WrapsPart)]
    return [entry.proof for part in found for entry in part.entries if entry.proof]


def _observation() -> Envelope:
    fields = (VAULT, b"m" * 32, b"r" * 32, TIME, b"c" * 16, (0, 3), (b"b" * 16,))
    body = to_bytes(ObservationBody(*fields))
    return Envelope(Label.OBSERVATION, body, SERVER.sign(pae(Label.OBSERVATION, body)).signature)


def _checkpoint() -> Checkpoint:
    root = b"r" * 32
    signature = SERVER.sign(signed_message(VAULT, 7, root, TIME)).signature
    return Checkpoint.verified(VAULT, 7, root, TIME, signature, SERVER_KEY)


def _verifier_key() -> bytes:
    key = checkpoint_key(VAULT, SERVER_KEY)
    typed = base64.b64encode(bytes([key.kind]) + key.public_key).decode()
    return f"{key.name}+{key.key_id.hex()}+{typed}".encode()


def _head(body: bytes | None) -> bytes:
    target, url = "/v1/vaults/x/acts?from=1", "https://vault.example"
    fields = sign_request(
        "POST", url + target, body, api.CONTENT_TYPE, AUTHOR.request_key, AUTHOR.member_id, TIME
    )
    lines = [target, "Host: vault.example", *(f"{name}: {value}" for name, value in fields.items())]
    return "\n".join(lines).encode()


def _wanted() -> api.FetchBlocks:
    wanted = (api.WantedBatch(b"b" * 16, (0, 1)), api.WantedBatch(b"d" * 16, (2,)))
    return api.FetchBlocks(b"c" * 16, wanted)


def _page(world: World, note: bytes) -> api.LogPage:
    leaves = tuple(
        api.LogLeaf(leaf, tuple(api.LogPart(part, None) for part in sides))
        for leaf, sides in world.leaves[:3]
    )
    gone = api.LogLeaf(world.leaves[0][0], (api.LogPart(None, b"g" * 32),))
    return api.LogPage(0, (*leaves, gone), note)


def _keyring() -> Keyring:
    identity = StoredIdentity("me", Seed(b"s" * 32), TIME)
    entry = VaultEntry(
        VAULT, "https://vault.example", b"p" * 32, "Lark", "me", InviteSecret(b"i" * 32),
        False, (), False,
    )  # fmt: skip
    return Keyring(3, (identity,), (entry,))


def _keyring_file() -> bytes:
    return _MAGIC + _FIELDS.pack(65_536, 3, 1, b"s" * 16, b"n" * 12, 40) + b"c" * 40 + b"m" * 32


def _kit() -> Kit:
    return Kit(VAULT, "https://vault.example", b"p" * 32, Seed(b"s" * 32))


def _rescue() -> bytes:
    card = Identity(Seed(b"n" * 32)).card(recovery_context(VAULT))
    text = Request(VAULT, card).text()
    assert text.startswith(REQUEST_PREFIX)
    return text.encode()
