"""What a client believes, against servers that lie about the log (THREATS: K, Z, V, W, S, H7)."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from client.crypto.identity import Identity, seal_box
from client.crypto.secrets import Share
from client.crypto.wraps import create_epoch
from client.errors import Refused
from client.links import parse_link
from client.membership import invite_behind
from client.store import StoreMoved, VaultStore
from client.trust import ATTEMPTS, Believed
from client.vault import Vault
from protocol import acts
from protocol.acts import Act, Citation, Reason, Role, Rule
from protocol.api import LogLeaf, LogPage
from protocol.blocks import PEOPLE_COLLECTION, PEOPLE_FIELD, Address, FieldClass
from protocol.checkpoint import parse_note
from protocol.encoding import decode, encode
from protocol.errors import (
    CommitmentMismatch,
    ContextMismatch,
    Fork,
    IntegrityError,
    NotAuthorised,
    Rollback,
    SealroomError,
    Stale,
    Unsupported,
    VerificationFailed,
)
from protocol.group import base_mul
from protocol.labels import Label
from protocol.ledger import act_leaf
from protocol.ledger.sides import BoxPart, Part, WrapsPart, encode_part, parse_part
from protocol.limits import LIMITS
from protocol.merkle import leaf_hash
from protocol.rewrap import Wrap
from protocol.wire import Envelope, from_bytes, pae, to_bytes
from tests.company import Actor, Company, company
from tests.in_process import URL
from tests.liars import Altered, ForgedLog, Forger, Lie, Signed, parsed_act
from tests.world import in_order

GENERAL, SENSITIVE, CORE = FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE


async def forged(cast: Company, size: int | None = None) -> ForgedLog:
    return await ForgedLog.of(cast.lab, (await cast("olga")).session, size)


def rule(field_class: FieldClass) -> Rule:
    return Rule(None, field_class, None)


def kinds(vault: Vault) -> list[str]:
    return ["observation" if act is None else act.kind for act in vault.session.believed.acts]


def customers(log: ForgedLog) -> bytes:
    return next(each for each in log.state.collections if each != PEOPLE_COLLECTION)


def newest(log: ForgedLog, number: int) -> Address:
    found = log.state.newest(customers(log), number)
    assert found is not None
    return found.definition.address


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
        grant = log.draft(ada.identity, acts.Grant(bo_of(log), (rule(SENSITIVE),)))
        log.take(log.signed(ada.identity, grant, log.sides(ada.session, grant)))
        bo = await cast.actor("bo", Forger(log), fresh=fresh)
        await bo.session.sync()
        assert kinds(bo.vault)[-2:] == ["noop", "grant"]
        assert bo.session.key(newest(log, 1)) is not None


def bo_of(log: ForgedLog) -> bytes:
    """Bo is the one confirmed bidder."""
    return next(
        m.id for m in log.state.members.values() if m.role is Role.BIDDER and m.live and m.rules
    )


def una_of(log: ForgedLog) -> bytes:
    return next(
        m.id for m in log.state.members.values() if m.role is Role.BIDDER and m.live and m.planned
    )


async def test_pages_are_joined_and_what_is_beyond_the_checkpoint_waits(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        short = Altered(lambda page: replace(page, leaves=page.leaves[:2]))
        assert len(await (await cast.actor("bo", short, fresh=True)).session.sync()) > 10
        log = await forged(cast)
        note = log.checkpoint().note()
        log.take(log.spoken((await cast("olga")).identity, acts.Noop()))
        long = Altered(lambda page: LogPage(page.start, tuple(log.leaves[page.start :]), note))
        ada = await cast.actor("ada", long, fresh=True)
        await ada.session.sync()
        assert ada.session.state.size == log.size - 1


# --- acts that nobody entitled signed (K3, K4, K14)

Forgery = Callable[[Company, ForgedLog], Awaitable[Signed]]
GHOST = Identity.generate()


async def by_a_stranger(cast: Company, log: ForgedLog) -> Signed:
    return log.spoken(GHOST, acts.Grant(GHOST.member_id, (rule(CORE),)))


async def in_the_owners_name(cast: Company, log: ForgedLog) -> Signed:
    owner = (await cast("olga")).identity
    act = log.draft(owner, acts.Revoke(bo_of(log), Reason.LEFT))
    return log.signed(owner, act, by=GHOST)


async def join_in_the_invites_name(cast: Company, log: ForgedLog) -> Signed:
    link = parse_link(cast.link)
    invite, _ = invite_behind((await cast("olga")).session, link.secret)
    act = log.draft(invite, acts.Join(GHOST.card(log.vault_id)))
    return log.signed(invite, act, by=GHOST)


async def confirm_by_the_server(cast: Company, log: ForgedLog) -> Signed:
    owner = (await cast("olga")).identity
    return log.signed(owner, log.draft(owner, acts.Confirm(una_of(log))), by=GHOST)


async def epoch_in_the_owners_name(cast: Company, log: ForgedLog) -> Signed:
    owner = (await cast("olga")).identity
    made = create_epoch(GHOST, log.vault_id, following(log, 0))
    act = log.draft(owner, acts.CreateEpoch((made.definition,)))
    return log.signed(owner, act, by=GHOST)


async def epoch_by_a_stranger(cast: Company, log: ForgedLog) -> Signed:
    made = create_epoch(GHOST, log.vault_id, following(log, 0))
    return log.spoken(GHOST, acts.CreateEpoch((made.definition,)))


async def act_of_another_vault(cast: Company, log: ForgedLog) -> Signed:
    owner = (await cast("olga")).identity
    act = replace(log.draft(owner, acts.Noop()), vault_id=bytes(32))
    return log.signed(owner, act)


async def a_request_for_an_act(cast: Company, log: ForgedLog) -> Signed:
    """What a member signed as something else is no act (K11)."""
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


def following(log: ForgedLog, number: int) -> Address:
    address = newest(log, number)
    return Address(address.collection, address.field, address.epoch + 1)


@pytest.mark.parametrize(
    ("forgery", "error"),
    [
        pytest.param(by_a_stranger, NotAuthorised, marks=pytest.mark.threat("K4")),
        pytest.param(in_the_owners_name, IntegrityError, marks=pytest.mark.threat("K4")),
        pytest.param(join_in_the_invites_name, IntegrityError, marks=pytest.mark.threat("K1")),
        pytest.param(confirm_by_the_server, IntegrityError, marks=pytest.mark.threat("K2")),
        pytest.param(epoch_in_the_owners_name, IntegrityError, marks=pytest.mark.threat("K3")),
        pytest.param(epoch_by_a_stranger, NotAuthorised, marks=pytest.mark.threat("K3")),
        pytest.param(act_of_another_vault, ContextMismatch, marks=pytest.mark.threat("H7")),
        pytest.param(a_request_for_an_act, NotAuthorised, marks=pytest.mark.threat("K11")),
        (neither_act_nor_observation, NotAuthorised),
        (sides_beside_an_observation, NotAuthorised),
        (a_second_genesis, ContextMismatch),
    ],
)
@pytest.mark.parametrize("fresh", [True, False], ids=["first contact", "known"])
async def test_a_forged_leaf_is_refused_and_named(
    tmp_path: Path, forgery: Forgery, error: type[VerificationFailed], fresh: bool
) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        log.force(await forgery(cast, log))
        ada = await cast.actor("ada", Forger(log), fresh=fresh)
        with ada.catches(error, match=f"leaf {log.size - 1} of the log"):
            await ada.session.sync()
        with ada.catches(error):
            await ada.vault.rotate()
        ada.lie.telling = False
        await ada.vault.rotate()
        assert ada.lie.sent == ["submit"]


def unentitled(log: ForgedLog) -> list[acts.Payload]:
    """Acts that would harm others, each of which some admin could land here."""
    where = customers(log)
    made = create_epoch(GHOST, log.vault_id, following(log, 0))
    manifest = log.state.collections[where].batches[-1].manifest
    invite = next(each.id for each in log.state.invites.values() if each.live)
    aud = next(m.id for m in log.state.members.values() if m.role is Role.AUDITOR)
    return [
        acts.WithdrawInvite(invite),
        acts.Confirm(una_of(log)),
        acts.ChangeRole(aud, Role.ADMIN),
        acts.Revoke(aud, Reason.BREACH),
        acts.DefineCollection(os.urandom(16), (GENERAL,)),
        acts.CreateEpoch((made.definition,)),
        acts.Grant(bo_of(log), in_order([rule(CORE)])),
        acts.WithdrawGrant(bo_of(log), (rule(GENERAL),)),
        acts.Commit(os.urandom(16), where, 0, True, (manifest,)),
        acts.Offer(bo_of(log), int(time.time()) + 3600, log.state.roots()),
    ]


@pytest.mark.threat("K14")
@pytest.mark.parametrize("author", ["bo", "aud", "una", "uma", "rex", "ivy", "kim"])
async def test_no_act_beyond_its_authors_role_is_believed(tmp_path: Path, author: str) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        if author == "ivy":
            who, _ = invite_behind((await cast("olga")).session, parse_link(cast.link).secret)
        else:
            who = (await cast(author)).identity
        payloads = unentitled(log)
        if author == "kim":  # keyless: catalogs, invites, removals; no key and no data
            payloads = [p for p in payloads if type(p) in _NEEDS_KEYS]
        for payload in payloads:
            told = log.branch()
            told.force(log.spoken(who, payload))
            olga = await cast.actor("olga", Forger(told))
            with olga.catches(NotAuthorised):
                await olga.session.sync()


_NEEDS_KEYS = {
    acts.DefineCollection, acts.CreateEpoch, acts.Grant, acts.Commit, acts.ChangeRole, acts.Offer
}  # fmt: skip


@pytest.mark.threat("K14")
async def test_the_owner_may_do_what_the_others_may_not(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        olga = await cast("olga")
        ada = await cast.actor("ada", Forger(log))
        landed = []
        for payload in unentitled(log):
            if isinstance(payload, acts.CreateEpoch | acts.Commit):
                continue  # of keys and blocks that nobody has: see the sides and the uploads
            if isinstance(payload, acts.Offer):
                payload = replace(payload, roots=log.state.roots())
            act = log.draft(olga.identity, payload)
            log.take(log.signed(olga.identity, act, log.sides(olga.session, act)))
            landed.append(act.kind)
        await ada.session.sync()
        assert kinds(ada.vault)[-len(landed) :] == landed


# --- acts at the wrong time, or in the wrong order (V4, S14, W)


@pytest.mark.threat("V4")
async def test_an_act_withheld_and_slipped_in_later_is_refused(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        withheld: list[Signed] = []

        class Unanswered(Lie):
            async def submit(self, honest: Any, vault_id: bytes, act: Any) -> Any:
                withheld.append(Signed(act_leaf(act.envelope), act.sides))
                raise Unreachable("the server is overloaded")

        olga = await cast.actor("olga", Unanswered())
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
async def test_a_withheld_grant_does_not_outlive_a_removal_by_another(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        olga = await cast("olga")
        grant = log.draft(olga.identity, acts.Grant(bo_of(log), (rule(CORE),)))
        withheld = log.signed(olga.identity, grant, log.sides(olga.session, grant))
        landed = log.branch()
        landed.take(withheld)  # in time it would have been an act like any other
        await (await cast("ada")).revoke("Bo", Reason.LOST_BID)
        log = await forged(cast)
        log.force(withheld)
        kim = await cast.actor("kim", Forger(log))
        with kim.catches(NotAuthorised, match="another act on members"):
            await kim.session.sync()


@pytest.mark.threat("S14")
async def test_of_two_epochs_with_one_number_the_second_is_refused(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        olga, ada = await cast("olga"), await cast("ada")
        drafts = []
        for vault in (olga, ada):
            new = create_epoch(vault.identity, log.vault_id, following(log, 0))
            act = log.draft(vault.identity, acts.CreateEpoch((new.definition,)))
            sides = log.sides(vault.session, act, {new.definition.address: new})
            drafts.append(log.signed(vault.identity, act, sides))
        for first, second in (drafts, drafts[::-1]):
            told = log.branch()
            told.take(first)
            kim = await cast.actor("kim", Forger(told.branch()), fresh=True)
            await kim.session.sync()
            told.force(second)
            kim.lie.log = told  # type: ignore[attr-defined]
            with kim.catches(NotAuthorised, match="another act on members"):
                await kim.session.sync()


@pytest.mark.threat("W1")
@pytest.mark.threat("V5")
async def test_a_commit_under_a_tainted_epoch_is_refused(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        ada = (await cast("ada")).identity
        committed = log.state.collections[customers(log)].batches[-1].manifest
        stale = replace(committed, batch_id=os.urandom(16))
        assert stale.blocks[0].epoch == 1  # rex knew this key; the newest is of his removal
        assert newest(log, 0).epoch == 2
        current = replace(
            stale, blocks=(replace(stale.blocks[0], epoch=2), *stale.blocks[1:])
        )
        for manifest, refused in ((stale, True), (current, False)):
            told = log.branch()
            payload = acts.Commit(os.urandom(16), customers(log), 0, True, (manifest,))
            # Whoever commits under a revocation that it was not shown cites the log before it.
            shown = Citation.of(log.checkpoint(log.size - 5))
            told.force(log.spoken(ada, payload, cited=shown))
            bo = await cast.actor("bo", Forger(told))
            if refused:
                with bo.catches(NotAuthorised, match="takes no more commits"):
                    await bo.session.sync()
            else:
                await bo.session.sync()


@pytest.mark.threat("W3")
async def test_an_invite_of_a_removed_admin_lets_nobody_in(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, ada = await cast("olga"), await cast("ada")
        invited = await ada.invite(Role.BIDDER, name="Eve")
        link = parse_link(invited.link)
        through, _ = invite_behind(ada.session, link.secret)
        log = await forged(cast)
        join = log.draft(through, acts.Join(GHOST.card(log.vault_id)))
        carried = {each: each.share for each in ()}
        assert not carried
        await olga.revoke("Ada", Reason.BREACH)
        log = await forged(cast)
        log.force(log.spoken(through, acts.Join(GHOST.card(log.vault_id)), number=join.number))
        kim = await cast.actor("kim", Forger(log))
        with kim.catches(NotAuthorised, match="an invite that is closed"):
            await kim.session.sync()


@pytest.mark.threat("W4")
async def test_a_demoted_admin_writes_nothing_more(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, ada = await cast("olga"), await cast("ada")
        await olga.change_role("Ada", Role.KEYLESS_ADMIN)
        log = await forged(cast)
        committed = log.state.collections[customers(log)].batches[-1].manifest
        manifest = replace(committed, batch_id=os.urandom(16))
        payload = acts.Commit(os.urandom(16), customers(log), 0, True, (manifest,))
        log.force(log.spoken(ada.identity, payload))
        bo = await cast.actor("bo", Forger(log))
        with bo.catches(NotAuthorised, match="without keys commits no data"):
            await bo.session.sync()


@pytest.mark.threat("W7")
async def test_a_date_that_the_server_did_not_sign_expires_nothing(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        bo = (await cast("bo")).identity
        honest = Citation.of(log.checkpoint())
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
        fields = list(decode(log.draft(owner, acts.Noop()).body(), max_bytes=LIMITS.act_bytes))
        assert fields.count("noop") == 1
        body = encode(["frobnicate" if each == "noop" else each for each in fields])
        envelope = Envelope(Label.ACT, body, owner.sign(pae(Label.ACT, body)))
        log.force(Signed(act_leaf(to_bytes(envelope))))
        bo = await cast.actor("bo", Forger(log))
        with bo.catches(Unsupported, match="leaf"):
            await bo.session.sync()


# --- sides: wraps, proofs and boxes (K8, Z, V8)


Tamper = Callable[[list[Part]], list[Part]]


def retold(sides: tuple[bytes, ...], change: Tamper) -> tuple[bytes, ...]:
    return tuple(map(encode_part, change([parse_part(each) for each in sides])))


def other_wraps(change: Callable[[Wrap], Wrap]) -> Tamper:
    return lambda parts: [
        replace(part, entries=tuple(replace(e, wrap=change(e.wrap)) for e in part.entries))
        if isinstance(part, WrapsPart)
        else part
        for part in parts
    ]


def other_proofs(change: Callable[[bytes], bytes]) -> Tamper:
    return lambda parts: [
        replace(part, entries=tuple(replace(e, proof=change(e.proof)) for e in part.entries))
        if isinstance(part, WrapsPart)
        else part
        for part in parts
    ]


SCALAR = (7).to_bytes(32, "little")
OTHER = base_mul(SCALAR)


@pytest.mark.threat("Z1")
@pytest.mark.parametrize(
    ("tamper", "error"),
    [
        (other_wraps(lambda wrap: Wrap(wrap.ephemeral, wrap.masked + OTHER)), IntegrityError),
        (other_wraps(lambda wrap: Wrap(wrap.ephemeral + OTHER, wrap.masked)), IntegrityError),
        (other_wraps(lambda wrap: Wrap(wrap.masked, wrap.ephemeral)), IntegrityError),
        (other_wraps(lambda _: Wrap(OTHER, OTHER)), IntegrityError),
        (other_proofs(lambda proof: proof[:-1] + bytes([proof[-1] ^ 1])), VerificationFailed),
        (other_proofs(lambda proof: bytes([proof[0] ^ 1]) + proof[1:]), VerificationFailed),
        (other_proofs(lambda _: b""), VerificationFailed),
        (other_proofs(bytes.__len__ and (lambda proof: proof[:-1])), VerificationFailed),
    ],
)
async def test_a_grant_of_another_key_is_refused_by_the_client_alone(
    tmp_path: Path, tamper: Tamper, error: type[VerificationFailed]
) -> None:
    """The granter signs what it did, and the server lets it through: each client refuses it."""
    async with company(tmp_path) as cast:
        log = await forged(cast)
        ada = await cast("ada")
        act = log.draft(ada.identity, acts.Grant(bo_of(log), (rule(CORE),)))
        sides = log.sides(ada.session, act)
        told = log.branch()
        told.force(log.signed(ada.identity, act, retold(sides, tamper)))
        for name in ("bo", "kim", "olga"):
            actor = await cast.actor(name, Forger(told))
            with pytest.raises(error) as caught, actor.catches(type_of(error)):
                await actor.session.sync()
            assert caught.value
        log.take(log.signed(ada.identity, act, sides))
        bo = await cast.actor("bo", Forger(log))
        await bo.session.sync()
        assert bo.session.key(newest(log, 2))


def type_of(error: type[VerificationFailed]) -> type[VerificationFailed]:
    return error
