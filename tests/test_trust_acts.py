"""Acts in a log that had to be refused (THREATS: K1 to K4, K14, K16, V4, S14, W)."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client.crypto.sharing import deal
from client.crypto.wraps import create_epoch
from client.errors import Unreachable
from client.inviting import invite_behind
from client.links import parse_link
from protocol import acts
from protocol.acts import Citation, Reason, Role
from protocol.encoding import decode, encode
from protocol.errors import (
    IntegrityError,
    NotAuthorised,
    Unsupported,
    VerificationFailed,
)
from protocol.labels import Label
from protocol.ledger import act_leaf
from protocol.limits import LIMITS
from protocol.wire import Envelope, pae, to_bytes
from tests.company import company
from tests.forgeries import FORGERIES
from tests.forging import (
    CORE,
    GENERAL,
    GHOST,
    auditor,
    bidder,
    customers,
    following,
    forged,
    kinds,
    newest,
)
from tests.liars import ForgedLog, Forger, Lie, Signed, parsed_act
from tests.world import joining, of_class

# --- acts that nobody entitled signed (K1 to K4, K14)


FORGED = ("K1", "K2", "K3", "K4", "K16", "H7", "K11")


def test_every_forgery_is_played() -> None:
    assert set(FORGED) == FORGERIES.keys()


@pytest.mark.parametrize(
    "threat", [pytest.param(each, marks=pytest.mark.threat(each)) for each in FORGED]
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
    known = log.state.members.values()
    custodians = [m.identity for m in known if m.id == bo or (m.role is Role.ADMIN and m.rules)]
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
        acts.ChangePolicy(log.state.policy),
        acts.Custodians(deal(GHOST, log.vault_id, custodians, 2)),
        acts.RetireCollection(where, Reason.OTHER),
        acts.Offer(bo, int(time.time()) + 3600, log.state.roots()),
        acts.Freeze(Reason.BREACH),
        acts.Unfreeze(),
    ]


NEEDS_KEYS = (
    acts.DefineCollection, acts.CreateEpoch, acts.Grant, acts.Commit, acts.RetireCollection
)  # fmt: skip
NEEDS_OWNER = (acts.ChangeRole, acts.Offer, acts.ChangePolicy, acts.Custodians, acts.Unfreeze)


@pytest.mark.threat("K14")
@pytest.mark.parametrize("author", ["bo", "aud", "una", "uma", "rex", "ivy", "kim", "ada"])
async def test_no_act_beyond_its_authors_role_is_believed(tmp_path: Path, author: str) -> None:
    async with company(tmp_path) as cast:
        log = await forged(cast)
        if author == "ivy":
            who, _ = invite_behind((await cast("olga")).session, parse_link(cast.link).secret)
        else:
            who = (await cast(author)).identity
        some: tuple[type, ...] = (*NEEDS_KEYS, *NEEDS_OWNER)
        allowed = {"kim": some, "ada": NEEDS_OWNER}.get(author)
        payloads = [p for p in unentitled(log) if allowed is None or isinstance(p, allowed)]
        olga = await cast.actor("olga", told := Forger(log))
        for payload in payloads:
            told.log = log.branch()
            told.log.force(log.spoken(who, payload))
            with olga.catches(NotAuthorised):
                await olga.session.sync()
        assert len(payloads) == (15 if allowed is None else len(allowed))


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
