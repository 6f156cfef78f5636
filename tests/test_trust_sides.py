"""Wraps, proofs and boxes beside acts, told otherwise (THREATS: K8, Z, V8)."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client.crypto import wraps
from client.crypto.identity import Identity, seal_box
from client.crypto.secrets import Share
from client.crypto.wraps import create_epoch
from client.store import VaultStore
from client.vault import Vault
from protocol import acts
from protocol.api import LogLeaf, LogPage, LogPart, SubmitAct
from protocol.blocks import Address
from protocol.errors import (
    CommitmentMismatch,
    ContextMismatch,
    IntegrityError,
    NotAuthorised,
    WeakKey,
)
from protocol.group import Point, base_mul, mul
from protocol.ledger.holders import holders
from protocol.ledger.sides import BoxPart, Gone, Part, WrapsPart, parse_part
from protocol.merkle import leaf_hash
from protocol.rewrap import Wrap
from tests.company import company
from tests.forging import (
    CORE,
    GENERAL,
    GHOST,
    SENSITIVE,
    auditor,
    bidder,
    customers,
    following,
    forged,
    newest,
    opens,
)
from tests.liars import Altered, Forger, Signed
from tests.retelling import (
    OTHER_KEYS,
    Tamper,
    a_grant,
    retold,
)
from tests.world import of_class

# --- sides: wraps, proofs and boxes (K8, Z, V8)


@pytest.mark.threat("Z1")
async def test_a_grant_of_another_key_is_refused_by_the_client_alone(tmp_path: Path) -> None:
    """The granter signs what it altered and the server lets it through: the clients do not."""
    async with company(tmp_path) as cast:
        log = await forged(cast)
        ada, act, sides = await a_grant(cast, log)
        told = Forger(log)
        kim, bo = await cast.actor("kim", told), await cast.actor("bo", told)
        for tamper, error in OTHER_KEYS:
            told.log = log.branch()
            told.log.force(log.signed(ada.identity, act, retold(sides, tamper)))
            for actor in (kim, bo):
                with actor.catches(error, match=f"leaf {log.size}"):
                    await actor.session.sync()
        told.log = log
        log.take(log.signed(ada.identity, act, sides))
        await bo.session.sync()
        opens(bo, newest(log, 2))


@pytest.mark.threat("Z5")
async def test_a_proof_of_another_act_does_not_count(tmp_path: Path) -> None:
    """Bo held the newest epoch by a rotation; its wrap and proof are of no use to a grant."""
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        await olga.rotate(collection="customers", fields=["name"])
        log = await forged(cast)
        rotation = [parse_part(each.content or b"") for each in log.leaves[-1].sides]
        bo_id = bidder(log, confirmed=True)
        (old,) = (
            entry
            for part in rotation
            if isinstance(part, WrapsPart)
            for entry in part.entries
            if entry.recipient == bo_id
        )
        await olga.withdraw_grant("Bo", classes=[GENERAL])
        log = await forged(cast)
        where = newest(log, 0)
        act = log.draft(olga.identity, acts.Grant(bo_id, (of_class(GENERAL),)))
        sides = log.sides(olga.session, act)

        def replayed(parts: list[Part]) -> list[Part]:
            return [
                replace(part, entries=(old,))
                if isinstance(part, WrapsPart) and part.address == where
                else part
                for part in parts
            ]

        told = log.branch()
        told.force(log.signed(olga.identity, act, retold(sides, replayed)))
        bo = await cast.actor("bo", Forger(told))
        with bo.catches(IntegrityError):
            await bo.session.sync()
        log.take(log.signed(olga.identity, act, sides))


@pytest.mark.threat("Z6")
async def test_a_grant_recombined_with_anothers_entry_is_refused(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        ada, act, sides = await a_grant(cast, log)
        payload = acts.Grant(bidder(log, confirmed=True), (of_class(SENSITIVE),))
        other = log.sides(ada.session, log.draft(ada.identity, payload))
        mixed = (other[0], *sides[1:])
        log.force(log.signed(ada.identity, act, mixed))
        bo = await cast.actor("bo", Forger(log))
        with bo.catches(NotAuthorised, match="not for exactly the members"):
            await bo.session.sync()


def with_sides(sides: dict[int, tuple[LogPart, ...]]) -> Callable[[LogPage], LogPage]:
    def change(page: LogPage) -> LogPage:
        leaves = [
            LogLeaf(each.leaf, sides.get(page.start + i, each.sides))
            for i, each in enumerate(page.leaves)
        ]
        return replace(page, leaves=tuple(leaves))

    return change


@pytest.mark.threat("K8")
@pytest.mark.threat("Z5")
@pytest.mark.threat("Z6")
async def test_the_sides_of_one_act_beside_another_are_refused(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        sided = {i: leaf.sides for i, leaf in enumerate(log.leaves) if leaf.sides}
        assert len(sided) > 8
        places = sorted(sided)
        pairs = [*itertools.pairwise(places), *((a, places[-1]) for a in places[:-2])]
        bo = await cast.actor("bo", told := Altered(lambda page: page), fresh=True)
        for a, b in pairs:
            told.change = with_sides({a: sided[b], b: sided[a]})
            with bo.catches(ContextMismatch, match=f"leaf {a} of the log"):
                await bo.session.sync()


@pytest.mark.threat("K8")
async def test_sides_that_are_missing_short_or_in_another_order_are_refused(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        at, sides = next(
            (i, leaf.sides) for i, leaf in enumerate(log.leaves) if len(leaf.sides) > 4
        )
        bo = await cast.actor("bo", told := Altered(lambda page: page), fresh=True)
        for lie in ((), sides[:-1], sides[1:], sides[::-1], (*sides, sides[-1])):
            told.change = with_sides({at: lie})
            with bo.catches(ContextMismatch, match=f"leaf {at} of the log"):
                await bo.session.sync()
        told.change = with_sides({at: sides})
        await bo.session.sync()


@pytest.mark.threat("K8")
async def test_parts_are_gone_of_what_was_retired_and_of_nothing_else(tmp_path: Path) -> None:
    """A server that deletes keys which are in use would have some members read and others not."""
    async with company(tmp_path) as cast:
        await (await cast("olga")).rotate(collection="customers", reencrypt=True)
        log = await forged(cast)
        gone = [
            (at, place)
            for at, leaf in enumerate(log.leaves)
            for place, part in enumerate(leaf.sides)
            if part.content is None
        ]
        assert gone
        bo = await cast.actor("bo", told := Altered(lambda page: page), fresh=True)
        for at, leaf in enumerate(log.leaves):
            for place, part in enumerate(leaf.sides):
                if part.content is None:
                    continue
                left = LogPart.of(Gone(leaf_hash(part.content)))
                changed = (*leaf.sides[:place], left, *leaf.sides[place + 1 :])
                told.change = with_sides({at: changed})
                with bo.catches(NotAuthorised, match=f"leaf {at} of the log: the server withholds"):
                    await bo.session.sync()
        # Another hash in the place of a part that is gone is not the one that was signed.
        for at, place in gone:
            sides = log.leaves[at].sides
            other = LogPart.of(Gone(bytes(32)))
            told.change = with_sides({at: (*sides[:place], other, *sides[place + 1 :])})
            with bo.catches(ContextMismatch, match=f"leaf {at} of the log"):
                await bo.session.sync()
        told.change = lambda page: page
        await bo.session.sync()
        assert (await bo.vault.read("customers", fields=["name"])).num_rows == 3


@pytest.mark.threat("V8")
async def test_an_epoch_short_or_long_by_one_holder_is_refused(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        ada = await cast("ada")
        new = create_epoch(ada.identity, log.vault_id, following(log, 0))
        act = log.draft(ada.identity, acts.CreateEpoch((new.definition,)))
        sides = log.sides(ada.session, act, {new.definition.address: new})
        due = holders(log.state, customers(log), 0)
        assert len(due) == 3
        rex = next(m.id for m in log.state.members.values() if not m.live)

        def without(party: bytes) -> Tamper:
            return lambda parts: [
                replace(part, entries=tuple(e for e in part.entries if e.recipient != party))
                if isinstance(part, WrapsPart)
                else part
                for part in parts
                if not (isinstance(part, BoxPart) and part.recipient == party)
            ]

        def also(party: bytes) -> Tamper:
            def change(parts: list[Part]) -> list[Part]:
                wraps, *boxes = parts
                assert isinstance(wraps, WrapsPart)
                more = {e.recipient: e for e in wraps.entries}
                more[party] = replace(wraps.entries[0], recipient=party)
                found = {b.recipient: b for b in boxes if isinstance(b, BoxPart)}
                found[party] = BoxPart(party, found[due[0]].box)
                entries = tuple(more[each] for each in sorted(more))
                return [replace(wraps, entries=entries), *(found[e] for e in sorted(found))]

            return change

        bo = await cast.actor("bo", told := Forger(log))
        for tamper in [*map(without, due), *map(also, (rex, auditor(log), GHOST.member_id))]:
            told.log = log.branch()
            told.log.force(log.signed(ada.identity, act, retold(sides, tamper)))
            with bo.catches(NotAuthorised, match="not for exactly the members"):
                await bo.session.sync()
        told.log = log.branch()
        told.log.take(log.signed(ada.identity, act, sides))
        await bo.session.sync()
        opens(bo, new.definition.address)


# --- what is in a box, only its recipient can tell (Z4, K8)


def boxed_otherwise(seal: Callable[[bytes, bytes], bytes]) -> Tamper:
    """Put another box in place; `seal` gets the plaintext length and the recipient."""
    return lambda parts: [
        BoxPart(part.recipient, seal(part.recipient, part.box))
        if isinstance(part, BoxPart)
        else part
        for part in parts
    ]


@pytest.mark.threat("Z4")
async def test_a_wrong_share_is_found_before_its_use_and_can_be_mended(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        ada, act, _ = await a_grant(cast, log)
        wrong = log.sides(ada.session, act, shares=lambda _: Share(os.urandom(32)))
        at = await landed(ada, log.signed(ada.identity, act, wrong))
        bo = await cast.actor("bo")
        told = f"given to you false in act {at}, by member {ada.identity.member_id.hex()[:16]}"
        with bo.catches(CommitmentMismatch, told, but="learned") as found:
            await bo.vault.read("customers", fields=["iban"])
        assert isinstance(found.value, CommitmentMismatch)
        assert f"rotate --collection {customers(log).hex()[:8]}" in (found.value.hint or "")
        # What was held before opens as ever; and a box that is right is preferred to a wrong one.
        opens(bo, newest(log, 0))
        await ada.withdraw_grant("Bo", classes=[CORE])
        await ada.grant("Bo", classes=[CORE])
        assert (await bo.vault.read("customers", fields=["iban"])).num_rows == 3


class Nothing:
    """The identity, which is no `Point`, where a key is to be wrapped."""

    def __add__(self, other: Point) -> Point:
        return other


@pytest.mark.threat("Z3")
async def test_an_epoch_without_a_key_hides_none_that_was_given_before(tmp_path: Path) -> None:
    """Each rewrap of the identity is proved, and one box holds it beside keys that are right."""
    async with company(tmp_path) as cast:
        log = await forged(cast)
        ada, party, good = await cast("ada"), bidder(log, confirmed=True), newest(log, 0)
        new = create_epoch(ada.identity, log.vault_id, following(log, 0))
        bad, scalar = new.definition.address, (99).to_bytes(32, "little")
        empty = Wrap(base_mul(scalar), mul(scalar, ada.identity.public.rewrap_key))
        real = wraps.unwrap

        def lenient(identity: Identity, wrap: Wrap) -> Any:
            return Nothing() if wrap == empty else real(identity, wrap)

        def share(address: Address) -> Share:
            return new.share if address == bad else ada.session.key(address).share

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wraps, "unwrap", lenient)
            act = log.draft(ada.identity, acts.CreateEpoch((new.definition,)))
            sides = log.sides(ada.session, act, {bad: replace(new, first_wrap=empty)})
            log.take(log.signed(ada.identity, act, sides))
            log.take(log.spoken(ada.identity, acts.WithdrawGrant(party, (of_class(GENERAL),))))
            act = log.draft(ada.identity, acts.Grant(party, (of_class(GENERAL),)))
            log.take(log.signed(ada.identity, act, log.sides(ada.session, act, shares=share)))
        bo = await cast.actor("bo", Forger(log))
        await bo.session.sync()
        (path,) = (bo.home.directory / "vaults").glob("*.db")
        with VaultStore(path) as store:
            box = store.boxes(party)[0]
        assert {good, bad} <= set(box.shares.addresses), "the newest has both"
        with bo.catches(WeakKey, match=r"given to you false in act \d+, by member"):
            bo.session.key(bad)
        opens(bo, good)


@pytest.mark.threat("Z3")
async def test_whoever_moves_to_new_keys_is_not_stopped_by_an_epoch_without_a_key(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        ada, old = await cast("ada"), await cast.id_of("bo")
        new = create_epoch(ada.identity, log.vault_id, following(log, 0))
        bad, scalar = new.definition.address, (99).to_bytes(32, "little")
        empty = Wrap(base_mul(scalar), mul(scalar, ada.identity.public.rewrap_key))
        act = log.draft(ada.identity, acts.CreateEpoch((new.definition,)))
        sides = log.sides(ada.session, act, {bad: replace(new, first_wrap=empty)})
        await landed(ada, log.signed(ada.identity, act, sides))
        bo = await cast.actor("bo")
        with pytest.raises(CommitmentMismatch, match=f"key of {bad} was given to you false"):
            await bo.home.rotate_identity(bo.vault)
        done = await bo.home.rotate_identity(bo.vault, leave_false_keys=True)
        assert done.left == (str(bad),)
        assert bo.id != old
        with pytest.raises(WeakKey, match="by the one before, which could not open it either"):
            bo.session.key(bad)
        assert (await bo.vault.read("customers")).num_rows == 3


async def landed(author: Vault, signed: Signed) -> int:
    """Send an act to the honest server, which cannot tell what is in a box."""
    sides = tuple(part for part in signed.sides if isinstance(part, bytes))
    sent = SubmitAct(signed.leaf[1:], sides)
    return (await author.session.transport.submit(author.session.vault_id, sent)).index


@pytest.mark.threat("K8")
@pytest.mark.parametrize("whose", ["other info", "other recipient", "other act"])
async def test_a_box_of_another_context_does_not_open(tmp_path: Path, whose: str) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        ada, act, sides = await a_grant(cast, log)
        bo = await cast("bo")
        plain = bytes(len(box_of(sides)) - 1136)
        others = {
            "other info": seal_box(bo.identity.public, plain, b"another context"),
            "other recipient": seal_box(ada.identity.public, plain, b"another context"),
            "other act": box_of(log.sides(ada.session, log.draft(ada.identity, act.payload))),
        }
        box = others[whose]
        told = retold(sides, boxed_otherwise(lambda *_: box))
        log.take(log.signed(ada.identity, act, told))
        actor = await cast.actor("bo", Forger(log))
        await actor.session.sync()
        with actor.catches(IntegrityError, match="did not open"):
            actor.session.key(newest(log, 2))


def box_of(sides: Sequence[bytes]) -> bytes:
    (box,) = (part.box for part in map(parse_part, sides) if isinstance(part, BoxPart))
    return box


async def test_a_box_of_another_size_is_refused_by_all(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        ada, act, sides = await a_grant(cast, log)
        longer = retold(sides, boxed_otherwise(lambda _, box: box + bytes(32)))
        log.force(log.signed(ada.identity, act, longer))
        kim = await cast.actor("kim", Forger(log))
        with kim.catches(NotAuthorised, match="another size"):
            await kim.session.sync()


async def test_a_key_that_was_not_given_is_not_held(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        bo = await cast.actor("bo")
        log = await forged(cast)
        await bo.session.sync()
        opens(bo, newest(log, 0))
        with bo.catches(NotAuthorised, match="you hold no key"):
            bo.session.key(newest(log, 2))
