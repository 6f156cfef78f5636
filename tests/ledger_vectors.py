"""The vectors of SPEC sections 8 and 9: acts, whole logs, erasures, and what is gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from protocol import acts
from protocol.acts import Rule
from protocol.api import LogLeaf, LogPage, LogPart
from protocol.blocks import PEOPLE_FIELD
from protocol.checkpoint import Checkpoint, signed_message
from protocol.encoding import Value, decode, encode
from protocol.labels import Label
from protocol.ledger import Gone, act_leaf
from protocol.ledger.log import ACT_LEAF
from protocol.ledger.sides import RequiredPart, SentPart, required_entries, required_parts
from protocol.merkle import leaf_hash
from protocol.signing import pae
from protocol.wire import pack, to_bytes
from tests import edwards
from tests.fixed_draws import (
    COLLECTION,
    DAY,
    SERVER,
    VAULT_ID,
    Draws,
    Json,
    fixed_randomness,
    parts_of,
    plain,
    refusal,
)
from tests.stories import carrying, told
from tests.story import CORE, GENERAL, Story, everywhere, larger_than_a_batch


def ledger(draws: Draws) -> Json:
    return _life(
        told(draws),
        "SPEC sections 8 and 9: one vault's log, what it says after each leaf, "
        "and leaves that are refused where they stand",
    )


def ledger_invites(draws: Draws) -> Json:
    return _life(
        carrying(draws),
        "SPEC section 9.3: as ledger.json, of a vault whose policy lets invites carry data",
    )


def _life(story: Story, about: str) -> Json:
    return {
        "about": about,
        "server_seed": bytes(SERVER).hex(),
        "seeds": {name: each.seed.expose().hex() for name, each in story.people_of.items()},
        "vault_id": story.vault_id.hex(),
        "steps": story.steps,
        "refused": story.refused,
        "observation": story.observation,
        "blocks": story.shown(),
        "erasures": list(_erasures(story)),
        "gone": _gone(story),
        "opened": [
            {
                "party": party.hex(),
                "address": address.encode().hex(),
                "share": key.share.expose().hex(),
                "field_key": key.key.expose().hex(),
            }
            for party, known in story.opened.items()
            for address, key in sorted(known.items())
        ],
    }


def _erasures(story: Story) -> Iterator[Json]:
    """Write out each block that an erasure changed, before and after."""
    for index, (leaf, _) in enumerate(story.leaves):
        if leaf[0] != ACT_LEAF or index == 0:
            continue
        payload = acts.parse_envelope(leaf[1:])[1].payload
        if not isinstance(payload, acts.Erase | acts.Replace):
            continue
        known = story.states[index - 1].collections[payload.collection].by_id()
        for erasure in payload.erasures:
            batch = known[erasure.batch]
            for block in erasure.blocks:
                yield {
                    "index": index,
                    "batch": batch.id.hex(),
                    "field": block.field,
                    "records": batch.manifest.records,
                    "erased_before": sorted(batch.erased),
                    "positions": list(erasure.positions),
                    "before": story.contents[block.before].hex(),
                    "after": story.contents[block.after].hex(),
                }


def _gone(story: Story) -> Json:
    """Write out a page of the log as a server has it that has deleted what it may."""
    size = story.retired_at
    if not size:
        return None
    retired = story.states[size - 1].is_retired
    leaves, gone = [], []
    for index, (leaf, sides) in enumerate(story.leaves[:size]):
        due = _due(story, index, leaf) if sides else ()
        parts = list[SentPart](sides)
        for number, wanted in enumerate(due):
            if all(map(retired, wanted.addresses)):
                parts[number] = Gone(leaf_hash(sides[number]))
                gone.append([index, number])
        leaves.append(LogLeaf(leaf, tuple(map(LogPart.of, parts))))
    root = story.ledger.tree.root(size)
    signed = SERVER.sign(signed_message(story.vault_id, size, root, story.now)).signature
    checkpoint = Checkpoint.verified(
        story.vault_id, size, root, story.now, signed, bytes(SERVER.verify_key)
    )
    page = LogPage(1, tuple(leaves[1:4]), checkpoint.note())
    return {"size": size, "parts": gone, "page": to_bytes(page).hex()}


def _due(story: Story, index: int, leaf: bytes) -> Sequence[RequiredPart]:
    before, after = story.states[index - 1], story.states[index]
    act = acts.parse_envelope(leaf[1:])[1]
    return required_parts(required_entries(before, after, act))


def act_bodies(draws: Draws) -> Json:
    with fixed_randomness("ledger") as same:
        story = told(same)
    examples = story.examples
    return {
        "about": "SPEC section 8: one act of every kind, as it stands in ledger.json",
        "acts": [_act(kind, examples[kind]) for kind in acts.KINDS],
        "invalid": _bad_bodies(examples),
    }


def _act(kind: str, envelope: bytes) -> Json:
    parsed, act = acts.parse_envelope(envelope)
    return {
        "kind": kind,
        "author": act.author.hex(),
        "number": act.number,
        "body": parsed.body.hex(),
        "value": plain(decode(parsed.body, max_bytes=1 << 20)),
        "signed": pae(Label.ACT, parsed.body).hex(),
        "signature": parsed.signature.hex(),
        "envelope": envelope.hex(),
        "leaf_hash": leaf_hash(act_leaf(envelope)).hex(),
    }


def _bad_bodies(examples: Mapping[str, bytes]) -> Json:
    def fields(kind: str) -> list[Any]:
        return list(parts_of(acts.parse_envelope(examples[kind])[0].body))

    def changed(kind: str, *path: int, to: Value) -> bytes:
        value: Any = fields(kind)

        def put(at: Any, steps: tuple[int, ...]) -> Any:
            if not steps:
                return to
            copied = list(at)
            copied[steps[0]] = put(at[steps[0]], steps[1:])
            return tuple(copied)

        return encode(put(value, path))

    rule = pack(Rule(COLLECTION, CORE, None))
    general = pack(everywhere(GENERAL))
    epochs = fields("create-epoch")[6][0]
    elsewhere = (COLLECTION, PEOPLE_FIELD, 1)
    _, points, box, shares = fields("custodians")[6][0]
    points, rest, weak = points[:1], (box, shares[:2]), edwards.SMALL_ENCODINGS[2]
    again = (shares[1][0], b"\xff" * len(shares[1][1]))
    bad: list[tuple[str, bytes]] = [
        ("a-part-less", encode(fields("noop")[:-1])),
        ("a-part-more", encode((*fields("noop"), None))),
        ("true-for-the-version", changed("noop", 0, to=True)),
        ("a-negative-number", changed("noop", 3, to=-1)),
        ("an-author-of-31-bytes", changed("noop", 2, to=bytes(31))),
        ("a-citation-of-an-empty-tree", changed("noop", 4, 0, to=0)),
        ("a-time-beyond-2-to-40", changed("noop", 4, 2, to=2**40 + 1)),
        ("sides-of-31-bytes", changed("noop", 7, to=bytes(31))),
        ("text-for-an-id", changed("confirm", 6, 0, to="x" * 32)),
        ("an-unknown-role", changed("change-role", 6, 1, to="king")),
        ("an-unknown-reason", changed("revoke", 6, 1, to="because")),
        ("an-unknown-class", changed("define-collection", 6, 1, to=(4,))),
        ("a-people-class", changed("define-collection", 6, 1, to=(3,))),
        ("the-people-collection", changed("define-collection", 6, 0, to=bytes(16))),
        ("no-field", changed("define-collection", 6, 1, to=())),
        ("no-rule", changed("grant", 6, 1, to=())),
        (
            "rules-out-of-order",
            changed(
                "grant", 6, 1, to=(general, rule)[:: 1 if encode(general) > encode(rule) else -1]
            ),
        ),
        ("a-rule-twice", changed("grant", 6, 1, to=(rule, rule))),
        ("a-rule-of-neither", changed("grant", 6, 1, to=((None, None, None),))),
        ("a-rule-of-both", changed("grant", 6, 1, to=((COLLECTION, 0, 0),))),
        ("a-field-of-no-collection", changed("grant", 6, 1, to=((None, None, 0),))),
        ("a-catalog-in-a-rule", changed("grant", 6, 1, to=((COLLECTION, None, 0x8000),))),
        ("a-rule-for-the-people-class", changed("grant", 6, 1, to=((None, 3, None),))),
        ("epoch-zero", changed("create-epoch", 6, 0, 0, 2, to=0)),
        ("epochs-twice", changed("create-epoch", 6, 0, to=(epochs[0], epochs[0]))),
        ("a-policy-of-no-time", changed("genesis", 6, 4, 0, to=0)),
        ("a-policy-of-too-much-time", changed("genesis", 6, 4, 1, to=90 * DAY + 1)),
        ("a-server-key-of-small-order", changed("genesis", 6, 3, to=edwards.SMALL_ENCODINGS[0])),
        ("an-access-key-of-small-order", changed("invite", 6, 5, to=edwards.SMALL_ENCODINGS[4])),
        ("no-manifest", changed("commit", 6, 4, to=())),
        ("one-for-last", changed("commit", 6, 3, to=1)),
        (
            "a-manifest-of-more-bytes-than-a-batch-has",
            larger_than_a_batch(encode(fields("commit"))),
        ),
        ("roots-twice", changed("offer", 6, 2, to=(fields("offer")[6][2][0],) * 2)),
        ("a-head-signer-twice", changed("policy", 6, 0, 4, to=(VAULT_ID, VAULT_ID))),
        ("an-unknown-statement", changed("attest", 6, 0, to="sold")),
        ("an-epoch-of-a-reserved-field", changed("retire-epoch", 6, 0, 0, 1, to=0x8004)),
        ("an-epoch-of-people-elsewhere", changed("retire-epoch", 6, 0, 0, to=elsewhere)),
        ("no-position", changed("erase", 6, 2, 0, 1, to=())),
        ("positions-out-of-order", changed("erase", 6, 2, 0, 1, to=(2, 1))),
        ("a-position-beyond-a-batch", changed("erase", 6, 2, 0, 1, to=(65_536,))),
        ("no-move", changed("re-encrypt", 6, 4, to=())),
        ("a-dealing-of-one-share", changed("custodians", 6, 0, 3, to=shares[:1])),
        ("fewer-shares-than-it-takes", changed("custodians", 6, 0, to=(3, points * 3, *rest))),
        ("a-commitment-too-few", changed("custodians", 6, 0, 0, to=3)),
        ("two-shares-for-one", changed("custodians", 6, 0, 3, to=(*shares[:2], again))),
        ("a-commitment-of-small-order", changed("custodians", 6, 0, 1, 0, to=weak)),
    ]
    return [
        {"name": name, "body": body.hex(), "error": refusal(acts.parse_body, body)}
        for name, body in bad
    ]
