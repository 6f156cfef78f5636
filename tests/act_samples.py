"""Acts of every kind: one of each that is always the same, and strategies for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from hypothesis import strategies as st
from nacl.signing import SigningKey

from client.crypto.identity import Identity
from client.crypto.secrets import Seed
from protocol import acts
from protocol.acts import Act, Citation, Policy, Reason, Role, Rule
from protocol.acts.recovery import SEED_BOX_BYTES, SHARE_BOX_BYTES
from protocol.acts.terms import MAX_TIME, MAX_UINT
from protocol.blocks import BlockRef, FieldClass, Manifest, Padding, catalog_field
from protocol.encoding import decode, encode
from protocol.group import Point
from protocol.labels import Label
from protocol.limits import LIMITS
from protocol.signing import pae
from protocol.wire import Envelope, pack, to_bytes
from tests.world import of_class, of_field

AUTHOR = Identity(Seed(b"a" * 32))
SERVER = SigningKey(b"s" * 32)
CARDS = [Identity(Seed(bytes((i,)) * 32)).card(b"v" * 32) for i in range(3)]
POINTS = [Point.from_bytes(bytes(card.identity.rewrap_key)) for card in CARDS]
KEYS = [bytes(SigningKey(bytes((i,)) * 32).verify_key) for i in range(3)]

id32 = st.binary(min_size=32, max_size=32)
id16 = st.binary(min_size=16, max_size=16).filter(any)
counts = st.integers(0, MAX_UINT)
times = st.integers(0, MAX_TIME)
cards = st.sampled_from(CARDS)
keys = st.sampled_from(KEYS)
roles = st.sampled_from(Role)
reasons = st.sampled_from(Reason)
classes = st.sampled_from([FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE])


def ascending(items: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    """Lists as acts hold them: without repeats, in the order of the encodings."""
    lists = st.lists(items, min_size=least, max_size=4)
    return lists.map(lambda each: tuple(x for _, x in sorted({_order(x): x for x in each}.items())))


def _order(item: Any) -> bytes:
    return encode(item) if isinstance(item, bytes | int) else to_bytes(item)


rules = st.one_of(
    st.builds(Rule, st.none() | id16, classes, st.none()),
    st.builds(Rule, id16, st.none(), st.integers(0, 0x7FFF)),
)
epochs = st.builds(
    acts.EpochDefinition,
    id16,
    st.integers(0, 0x7FFF),
    st.integers(1, LIMITS.epochs),
    id32,
    id32,
)
policies = st.builds(
    Policy,
    st.integers(1, LIMITS.invite_seconds),
    st.integers(1, LIMITS.offer_seconds),
    st.integers(1, LIMITS.head_seconds),
    st.booleans(),
    ascending(id32),
)


names = st.one_of(
    st.builds(acts.EpochName, id16, st.integers(0, 0x7FFF), st.integers(1, LIMITS.epochs)),
    st.builds(acts.EpochName, st.just(bytes(16)), st.just(0x8003), st.integers(1, 9)),
)
refs = st.builds(
    BlockRef,
    st.integers(0, 0xFFFF),
    st.integers(0, 2**32 - 1),
    id16,
    st.integers(4, LIMITS.block_bytes),
    id32,
    st.sampled_from(Padding),
)
erasures = st.builds(
    acts.Erasure,
    id16,
    ascending(st.integers(0, 65_535), 1),
    st.lists(
        st.builds(
            acts.EmptiedBlock,
            st.integers(0, 0xFFFF),
            id32,
            st.integers(4, LIMITS.block_bytes),
            id32,
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
)
boxes = st.binary(min_size=SHARE_BOX_BYTES, max_size=SHARE_BOX_BYTES)


@st.composite
def dealings(draw: st.DrawFn) -> acts.Dealing:
    custodians = draw(st.sets(id32, min_size=2, max_size=4))
    threshold = draw(st.integers(2, len(custodians)))
    return acts.Dealing(
        threshold,
        tuple(draw(st.sampled_from(POINTS)) for _ in range(threshold)),
        draw(st.binary(min_size=SEED_BOX_BYTES, max_size=SEED_BOX_BYTES)),
        tuple(acts.SealedShare(each, draw(boxes)) for each in sorted(custodians)),
    )


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    numbers = draw(st.sets(st.integers(0, 0x7FFF), min_size=1, max_size=3))
    if draw(st.booleans()):
        numbers = {catalog_field(draw(classes))}
    records = draw(st.integers(1, 100))
    blocks = tuple(
        BlockRef(
            number,
            draw(st.integers(1, 9)),
            draw(id16),
            draw(st.integers(4 * records, LIMITS.block_bytes)),
            draw(id32),
            draw(st.sampled_from(Padding)),
        )
        for number in sorted(numbers)
    )
    return Manifest(draw(id16), records, blocks)


PAYLOADS: dict[str, st.SearchStrategy[Any]] = {
    "genesis": st.builds(acts.Genesis, st.integers(0, 0xFFFF), id32, cards, keys, policies),
    "invite": st.builds(acts.Invite, cards, roles, ascending(rules), st.booleans(), times, keys),
    "withdraw-invite": st.builds(acts.WithdrawInvite, id32),
    "join": st.builds(acts.Join, cards),
    "confirm": st.builds(acts.Confirm, id32),
    "change-role": st.builds(acts.ChangeRole, id32, roles),
    "revoke": st.builds(acts.Revoke, id32, reasons),
    "rotate-identity": st.builds(acts.RotateIdentity, cards, st.none() | counts),
    "define-collection": st.builds(
        acts.DefineCollection, id16, st.lists(classes, min_size=1, max_size=5).map(tuple)
    ),
    "retire-collection": st.builds(acts.RetireCollection, id16, reasons),
    "create-epoch": st.builds(acts.CreateEpoch, ascending(epochs, 1)),
    "retire-epoch": st.builds(acts.RetireEpoch, ascending(names, 1)),
    "grant": st.builds(acts.Grant, id32, ascending(rules, 1)),
    "withdraw-grant": st.builds(acts.WithdrawGrant, id32, ascending(rules, 1)),
    "commit": st.builds(
        acts.Commit,
        id16,
        id16,
        st.integers(0, 0xFFFF),
        st.booleans(),
        st.lists(manifests(), min_size=1, max_size=3).map(tuple),
    ),
    "erase": st.builds(acts.Erase, id16, reasons, ascending(erasures, 1)),
    "replace": st.builds(
        acts.Replace,
        id16,
        id16,
        st.integers(0, 0xFFFF),
        st.lists(manifests(), min_size=1, max_size=2).map(tuple),
        reasons,
        ascending(erasures, 1),
    ),
    "re-encrypt": st.builds(
        acts.Reencrypt,
        id16,
        id16,
        st.integers(0, 0xFFFF),
        st.booleans(),
        st.lists(st.builds(acts.MovedBlock, id16, id32, refs), min_size=1, max_size=3).map(tuple),
    ),
    "offer": st.builds(
        acts.Offer, id32, times, ascending(st.builds(acts.CollectionRoot, id16, id32))
    ),
    "accept": st.builds(
        acts.Accept,
        counts,
        counts,
        ascending(st.builds(acts.CollectionReceipt, id16, id32, counts, counts)),
    ),
    "reject": st.builds(acts.Reject, counts, reasons),
    "expire": st.just(acts.Expire()),
    "freeze": st.builds(acts.Freeze, reasons),
    "unfreeze": st.just(acts.Unfreeze()),
    "destroy": st.builds(acts.Destroy, reasons),
    "policy": st.builds(acts.ChangePolicy, policies),
    "custodians": st.builds(acts.Custodians, st.none() | dealings()),
    "release": st.builds(acts.Release, counts, cards, boxes),
    "attest": st.builds(acts.Attest, st.sampled_from(acts.Statement)),
    "heartbeat": st.just(acts.Heartbeat()),
    "noop": st.just(acts.Noop()),
}
citations = st.builds(
    Citation, st.integers(1, MAX_UINT), id32, times, st.binary(min_size=64, max_size=64)
)


def acts_of(kind: str) -> st.SearchStrategy[Act]:
    return st.builds(
        Act, id32, id32, counts, st.none() | citations, PAYLOADS[kind], st.none() | id32
    )


@cache
def sample(kind: str) -> Act:
    """One act of each kind, the same on every run."""
    cited = Citation(7, b"r" * 32, 1_800_000_000, b"g" * 64)
    return Act(b"v" * 32, AUTHOR.member_id, 3, cited, SAMPLES[kind], b"p" * 32)


BLOCK = BlockRef(0, 1, b"s" * 16, 72, b"x" * 32, Padding.MULTIPLE_16)
ERASURE = acts.Erasure(b"b" * 16, (1,), (acts.EmptiedBlock(0, b"x" * 32, 40, b"y" * 32),))
SAMPLES: dict[str, acts.Payload] = {
    "genesis": acts.Genesis(acts.SUITE, b"n" * 32, CARDS[0], KEYS[0], acts.DEFAULT_POLICY),
    "invite": acts.Invite(
        CARDS[1], Role.BIDDER, (of_class(FieldClass.CORE),), False, 1_800_100_000, KEYS[1]
    ),
    "withdraw-invite": acts.WithdrawInvite(b"i" * 32),
    "join": acts.Join(CARDS[2]),
    "confirm": acts.Confirm(b"m" * 32),
    "change-role": acts.ChangeRole(b"m" * 32, Role.ADMIN),
    "revoke": acts.Revoke(b"m" * 32, Reason.LEFT),
    "rotate-identity": acts.RotateIdentity(CARDS[2], 9),
    "define-collection": acts.DefineCollection(b"c" * 16, (FieldClass.CORE, FieldClass.GENERAL)),
    "retire-collection": acts.RetireCollection(b"c" * 16, Reason.RETENTION),
    "create-epoch": acts.CreateEpoch(
        (acts.EpochDefinition(b"c" * 16, 0, 1, b"h" * 32, b"k" * 32),)
    ),
    "retire-epoch": acts.RetireEpoch((acts.EpochName(b"c" * 16, 0, 1),)),
    "grant": acts.Grant(b"m" * 32, (of_field(b"c" * 16, 1),)),
    "withdraw-grant": acts.WithdrawGrant(b"m" * 32, (of_class(FieldClass.CORE, b"c" * 16),)),
    "commit": acts.Commit(
        b"u" * 16,
        b"c" * 16,
        1,
        False,
        (Manifest(b"b" * 16, 2, (BLOCK,)),),
    ),
    "erase": acts.Erase(b"c" * 16, Reason.REQUEST, (ERASURE,)),
    "replace": acts.Replace(
        b"u" * 16, b"c" * 16, 1, (Manifest(b"d" * 16, 2, (BLOCK,)),), Reason.MISTAKE, (ERASURE,)
    ),
    "re-encrypt": acts.Reencrypt(
        b"u" * 16, b"c" * 16, 1, False, (acts.MovedBlock(b"b" * 16, b"x" * 32, BLOCK),)
    ),
    "offer": acts.Offer(b"m" * 32, 1_800_100_000, (acts.CollectionRoot(b"c" * 16, b"r" * 32),)),
    "accept": acts.Accept(9, 12, (acts.CollectionReceipt(b"c" * 16, b"r" * 32, 5, 10),)),
    "reject": acts.Reject(9, Reason.TERMS),
    "expire": acts.Expire(),
    "freeze": acts.Freeze(Reason.BREACH),
    "unfreeze": acts.Unfreeze(),
    "destroy": acts.Destroy(Reason.RETENTION),
    "policy": acts.ChangePolicy(replace(acts.DEFAULT_POLICY, head_signers=(b"m" * 32,))),
    "custodians": acts.Custodians(
        acts.Dealing(
            2,
            (POINTS[0], POINTS[1]),
            b"e" * SEED_BOX_BYTES,
            tuple(acts.SealedShare(bytes((i,)) * 32, b"b" * SHARE_BOX_BYTES) for i in range(3)),
        )
    ),
    "release": acts.Release(9, CARDS[1], b"b" * SHARE_BOX_BYTES),
    "attest": acts.Attest(acts.Statement.KEYS_DESTROYED),
    "heartbeat": acts.Heartbeat(),
    "noop": acts.Noop(),
}


def signed(act: Act, author: Identity = AUTHOR, label: Label = Label.ACT) -> bytes:
    body = act.body()
    return to_bytes(Envelope(label, body, author.sign(pae(label, body))))


def altered(act: Act, place: int, value: Any) -> bytes:
    """Return the body with one of its eight fields replaced."""
    fields = list(decode(act.body(), max_bytes=LIMITS.act_bytes))  # type: ignore[arg-type]
    fields[place] = value
    return encode(tuple(fields))


def with_part(kind: str, place: int, items: tuple[Any, ...] | None) -> Callable[[], Act]:
    """Return what parses a sample with one field of its payload exchanged."""
    fields = list(pack(SAMPLES[kind]))  # type: ignore[arg-type]
    fields[place] = items
    return lambda: acts.parse_body(altered(sample(kind), 6, tuple(fields)))
