"""What a client believes, against servers that lie about the log (THREATS: K, Z, V, W, S, H7)."""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from client.crypto import wraps
from client.crypto.identity import Identity, seal_box
from client.crypto.secrets import Share
from client.crypto.wraps import create_epoch
from client.errors import Refused, Unreachable
from client.inviting import invite_behind
from client.links import parse_link
from client.store import StoreMoved, VaultStore
from client.trust import ATTEMPTS, Believed
from client.vault import Vault
from protocol import acts
from protocol.acts import Citation, Reason, Role
from protocol.api import LogLeaf, LogPage, LogPart, SubmitAct
from protocol.blocks import PEOPLE_COLLECTION, Address, FieldClass
from protocol.checkpoint import parse_note
from protocol.encoding import decode, encode
from protocol.errors import (
    CommitmentMismatch,
    ContextMismatch,
    Fork,
    IntegrityError,
    NotAuthorised,
    Rollback,
    Stale,
    Unsupported,
    VerificationFailed,
    WeakKey,
)
from protocol.group import Point, base_mul, mul
from protocol.labels import Label
from protocol.ledger import act_leaf
from protocol.ledger.holders import holders
from protocol.ledger.sides import BoxPart, Entry, Part, WrapsPart, encode_part, parse_part
from protocol.limits import LIMITS
from protocol.rewrap import Wrap
from protocol.wire import Envelope, pae, to_bytes
from tests.company import TABLE, Actor, Company, company
from tests.in_process import URL
from tests.liars import Altered, ForgedLog, Forger, Lie, Signed, parsed_act
from tests.world import joining, of_class

GENERAL, SENSITIVE, CORE = FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE
GHOST = Identity.generate()


async def forged(cast: Company, size: int | None = None) -> ForgedLog:
    return await ForgedLog.of(cast.lab, (await cast("olga")).session, size)


def kinds(vault: Vault) -> list[str]:
    return ["observation" if act is None else act.kind for act in vault.session.believed.acts]


def customers(log: ForgedLog) -> bytes:
    return next(each for each in log.state.collections if each != PEOPLE_COLLECTION)


def newest(log: ForgedLog, number: int) -> Address:
    found = log.state.newest(customers(log), number)
    assert found is not None
    return found.definition.address


def following(log: ForgedLog, number: int) -> Address:
    address = newest(log, number)
    return Address(address.collection, address.field, address.epoch + 1)


def bidder(log: ForgedLog, *, confirmed: bool) -> bytes:
    """Return bo, or una, who was not confirmed."""
    live = [m for m in log.state.members.values() if m.role is Role.BIDDER and m.live]
    return next(m.id for m in live if bool(m.planned) is not confirmed)


def opens(actor: Actor, address: Address) -> None:
    """Check that somebody holds a key, and that it is the published one."""
    assert len(actor.session.key(address).key.expose()) == 32


def auditor(log: ForgedLog) -> bytes:
    return next(m.id for m in log.state.members.values() if m.role is Role.AUDITOR)


# --- the honest controls


async def test_an_honest_log_is_believed_and_kept(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        bo = await cast.actor("bo")
        await (await cast("olga")).change_role("aud", Role.KEYLESS_ADMIN)
        before = bo.session.believed.ledger.size
        landed = await bo.session.sync()
        assert [each.index for each in landed] == list(range(before, bo.session.state.size))
        assert landed[-1].act is not None
        assert landed[-1].act.kind == "change-role"
        assert await bo.session.sync() == ()
        again = await cast.actor("bo")
        assert again.believed() == bo.believed()
        assert again.session.believed.verify_again() == bo.session.state.size


@pytest.mark.parametrize("fresh", [True, False], ids=["first contact", "known"])
async def test_a_forger_who_forges_nothing_is_believed(tmp_path: Path, fresh: bool) -> None:
    """Whatever is refused below is not refused for being served or signed by the forger."""
    async with company(tmp_path) as cast:
        log = await forged(cast)
        olga, ada = await cast("olga"), await cast("ada")
        log.take(log.spoken(olga.identity, acts.Noop()))
        payload = acts.Grant(bidder(log, confirmed=True), (of_class(SENSITIVE),))
        grant = log.draft(ada.identity, payload)
        log.take(log.signed(ada.identity, grant, log.sides(ada.session, grant)))
        bo = await cast.actor("bo", Forger(log), fresh=fresh)
        await bo.session.sync()
        assert kinds(bo.vault)[-2:] == ["noop", "grant"]
        opens(bo, newest(log, 1))


async def test_pages_are_joined_and_what_is_beyond_the_checkpoint_waits(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        short = Altered(lambda page: replace(page, leaves=page.leaves[:2]))
        bo = await cast.actor("bo", short, fresh=True)
        assert len(await bo.session.sync()) == (await forged(cast)).size > 10
        log = await forged(cast)
        note = log.checkpoint().note()
        log.take(log.spoken((await cast("olga")).identity, acts.Noop()))
        long = Altered(lambda page: LogPage(page.start, tuple(log.leaves[page.start :]), note))
        ada = await cast.actor("ada", long, fresh=True)
        await ada.session.sync()
        assert ada.session.state.size == log.size - 1


async def test_syncs_at_once_take_turns(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        await (await cast("olga")).rotate()
        bo = await cast.actor("bo")
        learned = await asyncio.gather(*(bo.session.sync() for _ in range(5)))
        assert [bool(each) for each in learned] == [True, False, False, False, False]


async def test_two_processes_on_one_home_do_not_collide(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        one, other = await cast.actor("bo"), await cast.actor("bo")
        await (await cast("olga")).rotate()
        await one.session.sync()
        await other.session.sync()
        assert one.session.state == other.session.state
        await asyncio.gather(one.session.sync(), other.session.sync())


async def test_a_home_that_never_holds_still_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with company(tmp_path) as cast:
        bo = await cast.actor("bo")
        tries = []

        def moved(_: object) -> None:
            tries.append(1)
            raise StoreMoved

        monkeypatch.setattr(bo.session.store, "learn", moved)
        with bo.catches(Refused, match="other commands"):
            await bo.session.sync()
        assert len(tries) == ATTEMPTS


async def test_what_could_not_be_kept_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with company(tmp_path) as cast:
        bo = await cast.actor("bo")
        await (await cast("olga")).rotate()

        def full(_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(bo.session.store, "learn", full)
            with bo.catches(sqlite3.OperationalError):
                await bo.session.sync()
        assert await bo.session.sync()


# --- acts that nobody entitled signed (K1 to K4, K14)

Forgery = Callable[[Company, ForgedLog], Awaitable[Signed]]


async def by_a_stranger(cast: Company, log: ForgedLog) -> Signed:
    return log.spoken(GHOST, acts.Grant(GHOST.member_id, (of_class(CORE),)))


async def in_the_owners_name(cast: Company, log: ForgedLog) -> Signed:
    owner = (await cast("olga")).identity
    act = log.draft(owner, acts.Revoke(bidder(log, confirmed=True), Reason.LEFT))
    return log.signed(owner, act, by=GHOST)


async def join_in_the_invites_name(cast: Company, log: ForgedLog) -> Signed:
    invite, _ = invite_behind((await cast("olga")).session, parse_link(cast.link).secret)
    act = log.draft(invite, joining(GHOST, log.vault_id, invite))
    return log.signed(invite, act, by=GHOST)


async def join_with_a_card_for_another_invite(cast: Company, log: ForgedLog) -> Signed:
    """Ivy enrols somebody whose own join the server holds back, in ivy's role."""
    invite, _ = invite_behind((await cast("olga")).session, parse_link(cast.link).secret)
    return log.spoken(invite, joining(GHOST, log.vault_id, (await cast("bo")).identity))


async def confirm_by_the_server(cast: Company, log: ForgedLog) -> Signed:
    owner = (await cast("olga")).identity
    act = log.draft(owner, acts.Confirm(bidder(log, confirmed=False)))
    return log.signed(owner, act, by=GHOST)


async def epoch_in_the_owners_name(cast: Company, log: ForgedLog) -> Signed:
    owner = (await cast("olga")).identity
    made = create_epoch(GHOST, log.vault_id, following(log, 0))
    return log.signed(owner, log.draft(owner, acts.CreateEpoch((made.definition,))), by=GHOST)


async def epoch_by_a_stranger(cast: Company, log: ForgedLog) -> Signed:
    made = create_epoch(GHOST, log.vault_id, following(log, 0))
    return log.spoken(GHOST, acts.CreateEpoch((made.definition,)))


async def act_of_another_vault(cast: Company, log: ForgedLog) -> Signed:
    owner = (await cast("olga")).identity
    return log.signed(owner, replace(log.draft(owner, acts.Noop()), vault_id=bytes(32)))


async def signed_as_something_else(cast: Company, log: ForgedLog) -> Signed:
    owner = (await cast("olga")).identity
    body = log.draft(owner, acts.Noop()).body()
    envelope = Envelope(Label.OBSERVATION, body, owner.sign(pae(Label.OBSERVATION, body)))
    return Signed(act_leaf(to_bytes(envelope)))


async def neither_act_nor_observation(cast: Company, log: ForgedLog) -> Signed:
    return Signed(b"\x03" + bytes(32))


async def sides_beside_an_observation(cast: Company, log: ForgedLog) -> Signed:
    return Signed(b"\x02" + bytes(32), (b"part",))


async def a_second_genesis(cast: Company, log: ForgedLog) -> Signed:
    return Signed(log.leaves[0].leaf)


FORGERIES: dict[str, list[tuple[Forgery, type[VerificationFailed]]]] = {
    "K1": [
        (join_in_the_invites_name, IntegrityError),
        (join_with_a_card_for_another_invite, IntegrityError),
    ],
    "K2": [(confirm_by_the_server, IntegrityError)],
    "K3": [(epoch_in_the_owners_name, IntegrityError), (epoch_by_a_stranger, NotAuthorised)],
    "K4": [(by_a_stranger, NotAuthorised), (in_the_owners_name, IntegrityError)],
    "H7": [(act_of_another_vault, ContextMismatch), (a_second_genesis, ContextMismatch)],
    "K11": [
        (signed_as_something_else, NotAuthorised),
        (neither_act_nor_observation, NotAuthorised),
        (sides_beside_an_observation, NotAuthorised),
    ],
}


@pytest.mark.parametrize(
    "threat", [pytest.param(each, marks=pytest.mark.threat(each)) for each in FORGERIES]
)
async def test_a_forged_leaf_is_refused_and_named(tmp_path: Path, threat: str) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        ada = await cast.actor("ada", told := Forger(log))
        new = await cast.actor("kim", told, fresh=True)
        for forgery, error in FORGERIES[threat]:
            told.log = log.branch()
            told.log.force(await forgery(cast, log))
            for actor in (ada, new):
                with actor.catches(error, match=f"leaf {log.size} of the log"):
                    await actor.session.sync()
            # Nothing is wrapped, sealed or sent on such a log; on the honest one it is.
            with ada.catches(error):
                await ada.vault.rotate()
        told.telling = False
        await new.session.sync()
        await ada.vault.rotate()
        assert ada.lie.sent == ["submit"]


def unentitled(log: ForgedLog) -> list[acts.Payload]:
    """Acts that change who may do what, each of which the owner could land here."""
    where = customers(log)
    made = create_epoch(GHOST, log.vault_id, following(log, 0))
    manifest = log.state.collections[where].batches[-1].manifest
    invite = next(each.id for each in log.state.invites.values() if each.live)
    bo, una = bidder(log, confirmed=True), bidder(log, confirmed=False)
    return [
        acts.WithdrawInvite(invite),
        acts.Confirm(una),
        acts.ChangeRole(auditor(log), Role.ADMIN),
        acts.Revoke(auditor(log), Reason.BREACH),
        acts.DefineCollection(os.urandom(16), (GENERAL,)),
        acts.CreateEpoch((made.definition,)),
        acts.Grant(bo, (of_class(CORE),)),
        acts.WithdrawGrant(bo, (of_class(GENERAL),)),
        acts.Commit(os.urandom(16), where, 0, True, (manifest,)),
        acts.Offer(bo, int(time.time()) + 3600, log.state.roots()),
    ]


NEEDS_KEYS = (acts.DefineCollection, acts.CreateEpoch, acts.Grant, acts.Commit)
NEEDS_OWNER = (acts.ChangeRole, acts.Offer)


@pytest.mark.threat("K14")
@pytest.mark.parametrize("author", ["bo", "aud", "una", "uma", "rex", "ivy", "kim", "ada"])
async def test_no_act_beyond_its_authors_role_is_believed(tmp_path: Path, author: str) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        if author == "ivy":
            who, _ = invite_behind((await cast("olga")).session, parse_link(cast.link).secret)
        else:
            who = (await cast(author)).identity
        some: tuple[type, ...] = (acts.Genesis, *NEEDS_KEYS, *NEEDS_OWNER)
        allowed = {"kim": some[1:], "ada": NEEDS_OWNER}.get(author)
        payloads = [p for p in unentitled(log) if allowed is None or isinstance(p, allowed)]
        olga = await cast.actor("olga", told := Forger(log))
        for payload in payloads:
            told.log = log.branch()
            told.log.force(log.spoken(who, payload))
            with olga.catches(NotAuthorised):
                await olga.session.sync()
        assert len(payloads) == (10 if allowed is None else len(allowed))


@pytest.mark.threat("K14")
async def test_the_owner_may_do_what_the_others_may_not(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        olga = await cast("olga")
        landed = []
        for payload in unentitled(log):
            if isinstance(payload, acts.CreateEpoch | acts.Commit):
                continue  # the ghost's; the sides below and the uploads have honest ones
            if isinstance(payload, acts.Offer):
                payload = replace(payload, roots=log.state.roots())
            act = log.draft(olga.identity, payload)
            log.take(log.signed(olga.identity, act, log.sides(olga.session, act)))
            landed.append(act.kind)
        ada = await cast.actor("ada", Forger(log))
        await ada.session.sync()
        assert kinds(ada.vault)[-len(landed) :] == landed


# --- acts at the wrong time, or in the wrong order (V4, S14, W)


@pytest.mark.threat("V4")
async def test_an_act_withheld_and_slipped_in_later_is_refused(tmp_path: Path) -> None:
    withheld: list[Signed] = []

    class Overloaded(Lie):
        async def submit(self, honest: Any, vault_id: bytes, act: Any) -> Any:
            withheld.append(Signed(act_leaf(act.envelope), act.sides))
            raise Unreachable("the server is overloaded")

    async with company(tmp_path) as cast:
        olga = await cast.actor("olga", Overloaded())
        with pytest.raises(Unreachable):
            await olga.vault.grant("Bo", classes=[CORE])
        olga.lie.telling = False
        await olga.vault.withdraw_grant("Bo", classes=[GENERAL])
        log = await forged(cast)
        log.force(withheld[0])
        for name in ("olga", "ada", "bo"):
            actor = await cast.actor(name, Forger(log))
            with actor.catches(NotAuthorised, match="next act is number"):
                await actor.session.sync()
        bo = await cast.actor("bo")
        await bo.session.sync()
        with pytest.raises(NotAuthorised):
            bo.session.key(newest(log, 2))


@pytest.mark.threat("V4")
async def test_a_withheld_grant_does_not_outlive_what_others_did_since(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        olga = await cast("olga")
        payload = acts.Grant(bidder(log, confirmed=True), (of_class(CORE),))
        grant = log.draft(olga.identity, payload)
        withheld = log.signed(olga.identity, grant, log.sides(olga.session, grant))
        log.branch().take(withheld)  # in time it was an act like any other
        await (await cast("ada")).withdraw_grant("Bo", classes=[GENERAL])
        log = await forged(cast)
        log.force(withheld)
        kim = await cast.actor("kim", Forger(log))
        with kim.catches(NotAuthorised, match="another act on members"):
            await kim.session.sync()


@pytest.mark.threat("S14")
@pytest.mark.parametrize("first", ["olga", "ada"])
async def test_of_two_epochs_with_one_number_the_second_is_refused(
    tmp_path: Path, first: str
) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        signed = []
        for vault in (await cast(first), await cast("ada" if first == "olga" else "olga")):
            new = create_epoch(vault.identity, log.vault_id, following(log, 0))
            act = log.draft(vault.identity, acts.CreateEpoch((new.definition,)))
            sides = log.sides(vault.session, act, {new.definition.address: new})
            signed.append(log.signed(vault.identity, act, sides))
        log.take(signed[0])
        kim = await cast.actor("kim", told := Forger(log.branch()))
        await kim.session.sync()
        told.log.force(signed[1])
        with kim.catches(NotAuthorised, match="another act on members"):
            await kim.session.sync()


@pytest.mark.threat("W1")
@pytest.mark.threat("V5")
@pytest.mark.parametrize(("epoch", "error"), [(1, NotAuthorised), (2, None)])
async def test_a_commit_under_a_tainted_epoch_is_refused(
    tmp_path: Path, epoch: int, error: type[VerificationFailed] | None
) -> None:
    """Rex knew the first epoch's key. Whoever was not shown its removal cites the log before."""
    async with company(tmp_path) as cast:
        log = await forged(cast)
        ada = (await cast("ada")).identity
        committed = log.state.collections[customers(log)].batches[-1].manifest
        first = replace(committed.blocks[0], epoch=epoch)
        manifest = replace(
            committed, batch_id=os.urandom(16), blocks=(first, *committed.blocks[1:])
        )
        payload = acts.Commit(os.urandom(16), customers(log), 0, True, (manifest,))
        removed = next(
            i for i, leaf in enumerate(log.leaves)
            if leaf.leaf[0] == 1 and parsed_act(leaf.leaf).kind == "revoke"
        )  # fmt: skip
        shown = Citation.of(log.checkpoint(removed))
        log.force(log.spoken(ada, payload, cited=shown))
        bo = await cast.actor("bo", Forger(log))
        if error is None:
            await bo.session.sync()
        else:
            with bo.catches(error, match="under an epoch that takes no more"):
                await bo.session.sync()


@pytest.mark.threat("W3")
@pytest.mark.parametrize("removed", [True, False])
async def test_an_invite_of_a_removed_admin_lets_nobody_in(tmp_path: Path, removed: bool) -> None:
    async with company(tmp_path) as cast:
        olga, ada = await cast("olga"), await cast("ada")
        invited = await ada.invite(Role.AUDITOR, name="Eve")
        through, _ = invite_behind(ada.session, parse_link(invited.link).secret)
        if removed:
            await olga.revoke("Ada", Reason.BREACH)
        log = await forged(cast)
        log.force(log.spoken(through, joining(GHOST, log.vault_id, through)))
        kim = await cast.actor("kim", Forger(log))
        if removed:
            with kim.catches(NotAuthorised, match="an invite that is closed"):
                await kim.session.sync()
        else:
            await kim.session.sync()


@pytest.mark.threat("W4")
async def test_a_demoted_admin_writes_no_more_data(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        ada = await cast("ada")
        log = await forged(cast)
        committed = log.state.collections[customers(log)].batches[-1].manifest
        first = replace(committed.blocks[0], epoch=2)
        manifest = replace(
            committed, batch_id=os.urandom(16), blocks=(first, *committed.blocks[1:])
        )
        payload = acts.Commit(os.urandom(16), customers(log), 0, True, (manifest,))
        log.branch().take(log.spoken(ada.identity, payload))
        await (await cast("olga")).change_role("Ada", Role.KEYLESS_ADMIN)
        log = await forged(cast)
        log.force(log.spoken(ada.identity, payload))
        bo = await cast.actor("bo", Forger(log))
        with bo.catches(NotAuthorised, match="an admin without keys commits"):
            await bo.session.sync()


@pytest.mark.threat("W7")
async def test_a_date_that_the_server_did_not_sign_expires_nothing(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        bo = (await cast("bo")).identity
        honest = Citation.of(log.checkpoint())
        log.branch().take(log.spoken(bo, acts.Expire(), cited=honest))
        dated = replace(honest, time=honest.time + 365 * 86_400)
        log.force(log.spoken(bo, acts.Expire(), cited=dated))
        ada = await cast.actor("ada", Forger(log))
        with ada.catches(IntegrityError):
            await ada.session.sync()


async def test_what_a_newer_version_does_is_named_so(tmp_path: Path) -> None:
    """It is no lie; but it cannot be judged, so nothing from it on is believed."""
    async with company(tmp_path) as cast:
        log = await forged(cast)
        owner = (await cast("olga")).identity
        fields = decode(log.draft(owner, acts.Noop()).body(), max_bytes=LIMITS.act_bytes)
        assert isinstance(fields, tuple | list)
        body = encode(["frobnicate" if each == "noop" else each for each in fields])
        envelope = Envelope(Label.ACT, body, owner.sign(pae(Label.ACT, body)))
        log.force(Signed(act_leaf(to_bytes(envelope))))
        bo = await cast.actor("bo", Forger(log))
        with bo.catches(Unsupported, match=f"leaf {log.size - 1}"):
            await bo.session.sync()


# --- sides: wraps, proofs and boxes (K8, Z, V8)

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
        with bo.catches(CommitmentMismatch, f"given in act {at} by member", but="learned") as found:
            await bo.vault.read("customers", fields=["iban"])
        assert ada.identity.member_id.hex()[:16] in str(found.value)
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
        with bo.catches(WeakKey, match=r"given in act \d+ by member"):
            bo.session.key(bad)
        opens(bo, good)


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


# --- the past: rollback, fork, freeze, substitution (K15, S1 to S9, H7)


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(1, marks=pytest.mark.threat("S5")),
        pytest.param(10, marks=pytest.mark.threat("S2")),
        pytest.param(-2, marks=[pytest.mark.threat("S1"), pytest.mark.threat("K15")]),
        pytest.param(-1, marks=pytest.mark.threat("S5")),
    ],
)
async def test_an_earlier_state_is_refused(tmp_path: Path, kept: int) -> None:
    """Rotated, removed: before it was otherwise, and the server shows that it is so still."""
    async with company(tmp_path) as cast:
        ada = await cast.actor("ada")
        await ada.vault.rotate()
        await ada.session.sync()
        now = await forged(cast)
        past = await forged(cast, kept % now.size)
        again = await cast.actor("ada", Forger(past))
        with again.catches(Rollback, match=f"there have been {now.size}"):
            await again.session.sync()
        with again.catches(Rollback):
            await again.vault.upload(TABLE, collection="more")
        again.lie.telling = False
        await again.session.sync()


@pytest.mark.threat("S5")
async def test_leaves_that_the_checkpoint_counts_are_not_left_out(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        await (await cast("olga")).rotate()
        log = await forged(cast)
        for fresh, end in ((False, log.size - 1), (True, log.size - 1), (True, 1), (True, 0)):
            bo = await cast.actor("bo", Altered(ending_at(end)), fresh=fresh)
            with bo.catches(Rollback):
                await bo.session.sync()
            bo.lie.telling = False
            await bo.session.sync()
            await (await cast("olga")).rotate(collection="customers", fields=["name"])


def ending_at(end: int) -> Callable[[LogPage], LogPage]:
    return lambda page: replace(page, leaves=page.leaves[: max(0, end - page.start)])


async def test_an_empty_log_is_no_log(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        empty = log.checkpoint(0).note()
        bo = await cast.actor(
            "bo", Altered(lambda page: replace(page, checkpoint=empty)), fresh=True
        )
        with bo.catches(Rollback):
            await bo.session.sync()


async def diverged(cast: Company, *, longer: int) -> tuple[ForgedLog, ForgedLog]:
    """Return the honest log and one that parted from it at its last control act."""
    await (await cast("olga")).change_role("aud", Role.KEYLESS_ADMIN)
    honest = await forged(cast)
    other = await forged(cast, honest.size - 1)
    owner = (await cast("olga")).identity
    for _ in range(1 + longer):
        other.take(other.spoken(owner, acts.Noop()))
    return honest, other


@pytest.mark.threat("S3")
@pytest.mark.parametrize("longer", [0, 1, 5])
async def test_two_histories_are_a_fork_and_both_are_kept_as_proof(
    tmp_path: Path, longer: int
) -> None:
    async with company(tmp_path) as cast:
        honest, other = await diverged(cast, longer=longer)
        bo = await cast.actor("bo")
        await bo.session.sync()
        again = await cast.actor("bo", Forger(other))
        with again.catches(Fork) as caught:
            await again.session.sync()
        error = caught.value
        assert isinstance(error, Fork)
        key = honest.state.server_key
        pinned = parse_note(error.pinned, honest.vault_id, key)
        shown = parse_note(error.shown, honest.vault_id, key)
        assert (pinned.size, shown.size) == (honest.size, other.size)
        assert shown.root == other.tree.root()


@pytest.mark.threat("S3")
async def test_an_act_made_on_the_other_history_gives_the_fork_away(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        honest, other = await diverged(cast, longer=0)
        ada = await cast("ada")
        cited = Citation.of(other.checkpoint())
        told = honest.branch()
        told.force(told.spoken(ada.identity, acts.Noop(), cited=cited))
        bo = await cast.actor("bo", Forger(told))
        with bo.catches(Fork, match="no prefix of this log") as caught:
            await bo.session.sync()
        assert isinstance(caught.value, Fork)
        shown = parse_note(caught.value.shown, honest.vault_id, honest.state.server_key)
        assert shown.root == other.tree.root()
        honest.take(honest.spoken(ada.identity, acts.Noop()))
        bo = await cast.actor("bo", Forger(honest))
        await bo.session.sync()


@pytest.mark.threat("S4")
@pytest.mark.parametrize(
    ("late", "error"),
    [
        (LIMITS.checkpoint_age_seconds + 2, Stale),
        (LIMITS.checkpoint_age_seconds - 5, None),
        (-LIMITS.checkpoint_age_seconds - 2, Stale),
        (-LIMITS.checkpoint_age_seconds + 5, None),
    ],
)
async def test_a_frozen_log_is_found_out_by_the_clock(
    tmp_path: Path, late: int, error: type[Stale] | None
) -> None:
    async with company(tmp_path) as cast:
        page = (await forged(cast)).page(0)

        def frozen(asked: LogPage) -> LogPage:
            return LogPage(asked.start, page.leaves[asked.start :], page.checkpoint)

        bo = await cast.actor("bo", Altered(frozen), lambda: time.time() + late)
        if error is None:
            await bo.session.sync()
        else:
            with bo.catches(error):
                await bo.session.sync()


@pytest.mark.threat("S6")
@pytest.mark.parametrize("fresh", [True, False], ids=["first contact", "known"])
async def test_leaves_other_than_those_signed_for_are_refused(tmp_path: Path, fresh: bool) -> None:
    async with company(tmp_path) as cast:
        bo = await cast.actor("bo")
        await bo.session.sync()
        await (await cast("bo")).read("customers", fields=["name"])
        log = await forged(cast)
        assert log.leaves[-1].leaf[0] == 2

        def other(page: LogPage) -> LogPage:
            last = LogLeaf(b"\x02" + os.urandom(32), ())
            return replace(page, leaves=(*page.leaves[:-1], last))

        ada = await cast.actor("ada", Altered(other), fresh=fresh)
        with ada.catches(IntegrityError, match="not those of its checkpoint"):
            await ada.session.sync()
        ada.lie.telling = False
        await ada.session.sync()


@pytest.mark.threat("S9")
@pytest.mark.threat("H7")
async def test_what_was_answered_about_another_vault_is_refused(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        home = cast.newcomer("dan")
        async with await home.create_vault(URL, title="Other", token=cast.lab.token) as other:
            dan = other.identity.member_id
            page = await cast.lab.service.log_page(other.session.vault_id, dan, 0)
        for fresh in (True, False):
            lies = [lambda asked: replace(asked, checkpoint=page.checkpoint)]
            if fresh:
                lies.append(lambda _: page)
            for lie in lies:
                bo = await cast.actor("bo", Altered(lie), fresh=fresh)
                with bo.catches(ContextMismatch):
                    await bo.session.sync()
                bo.lie.telling = False
                await bo.session.sync()


@pytest.mark.threat("K2")
@pytest.mark.threat("S9")
async def test_another_vaults_whole_log_is_refused_though_signed_for_this_one(
    tmp_path: Path,
) -> None:
    """A genesis names the key that signs, so only its own hash can say whose genesis it is."""
    async with company(tmp_path) as cast:
        home = cast.newcomer("dan")
        async with await home.create_vault(URL, title="Other", token=cast.lab.token) as other:
            log = await ForgedLog.of(cast.lab, other.session)
        log.vault_id = (await cast("olga")).session.vault_id
        bo = await cast.actor("bo", Forger(log), fresh=True)
        with bo.catches(ContextMismatch, match="another vault's genesis"):
            await bo.session.sync()
        bo.lie.telling = False
        await bo.session.sync()


@pytest.mark.threat("H7")
async def test_answers_swapped_between_requests_are_refused(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        await (await cast("olga")).rotate()
        log = await forged(cast)
        for start in (0, 5):
            page = log.page(start)
            bo = await cast.actor("bo", Altered(always(page)))
            with bo.catches(ContextMismatch, match="other leaves than it was asked for"):
                await bo.session.sync()

        class OtherProof(Lie):
            async def consistency(self, honest: Any, vault_id: bytes, old: int, new: int) -> Any:
                return await honest.consistency(vault_id, old - 1, new)

        bo = await cast.actor("bo", OtherProof())
        with bo.catches(Fork):
            await bo.session.sync()
        bo.lie.telling = False
        await bo.session.sync()


async def test_a_proof_that_the_server_refuses_is_no_fork(tmp_path: Path) -> None:
    class NoProof(Lie):
        async def consistency(self, honest: Any, vault_id: bytes, old: int, new: int) -> Any:
            raise Refused("not now", code="rate_limited")

    async with company(tmp_path) as cast:
        await (await cast("olga")).rotate()
        bo = await cast.actor("bo", NoProof())
        with bo.catches(Refused):
            await bo.session.sync()


async def test_a_checkpoint_under_another_key_is_refused(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        log.key = SigningKey.generate()
        for fresh in (False, True):
            bo = await cast.actor("bo", Forger(log), fresh=fresh)
            with bo.catches(IntegrityError):
                await bo.session.sync()


# --- the copy on this machine


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE leaves SET leaf = x'00' WHERE position = 3",
        "UPDATE leaves SET leaf = substr(leaf, 1, 30)",
        f"UPDATE leaves SET leaf = x'02{'00' * 32}' WHERE substr(leaf, 1, 1) = x'02'",
        "DELETE FROM leaves WHERE position = (SELECT max(position) FROM leaves)",
        "DELETE FROM leaves WHERE position = 0",
        "DELETE FROM leaves",
        "DELETE FROM pin",
        "UPDATE pin SET note = substr(note, 2)",
        f"INSERT INTO leaves VALUES (1000, x'02{'00' * 32}')",
    ],
)
async def test_a_damaged_copy_is_not_believed(tmp_path: Path, damage: str) -> None:
    async with company(tmp_path) as cast:
        open_one = await cast.actor("bo")
        (path,) = (cast.lab.directory / "bo" / "vaults").glob("*.db")
        with sqlite3.connect(path) as db:
            assert db.execute(damage).rowcount >= 1
        db.close()
        with pytest.raises(IntegrityError, match="copy of the vault's log is damaged"):
            await cast.actor("bo")
        with pytest.raises(IntegrityError):
            open_one.session.believed.verify_again()
        # Starting anew needs nothing but the keyring.
        await open_one.vault.close()
        again = await cast.actor("bo", fresh=True)
        await again.session.sync()


def test_nothing_is_known_before_the_first_contact() -> None:
    with VaultStore(None) as store:
        believed = Believed(bytes(32), store)
        assert not believed.known
        with pytest.raises(Stale):
            _ = believed.pin


def always(page: LogPage) -> Callable[[LogPage], LogPage]:
    return lambda _: page
