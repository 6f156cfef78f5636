"""Inviting, by the real client (THREATS: V6)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from client import people
from client.catalogs import read_people
from client.crypto.secrets import InviteSecret
from client.errors import InputError, Refused
from client.fields import held_fields
from client.inviting import invite_behind
from client.links import parse_link
from client.session import ATTEMPTS, Draft
from client.transport import Transport
from protocol import acts, api
from protocol.acts import Role
from protocol.blocks import FieldClass
from protocol.errors import NotAuthorised
from protocol.ledger.parties import InviteStatus
from protocol.limits import DAY
from tests.company import ALL, company, customers, members
from tests.liars import ForgedLog, Forger, Lie

GENERAL, SENSITIVE, CORE = ALL


# --- inviting


@pytest.mark.parametrize(
    ("role", "classes", "planned"),
    [
        (Role.ADMIN, None, ("general", "sensitive", "core")),
        (Role.ADMIN, (GENERAL,), ("general",)),
        (Role.KEYLESS_ADMIN, None, ()),
        (Role.BIDDER, None, ()),
        (Role.BIDDER, ALL, ("general", "sensitive", "core")),
        (Role.AUDITOR, None, ()),
    ],
)
async def test_every_role_is_invited_joins_and_is_confirmed(
    tmp_path: Path, role: Role, classes: tuple[FieldClass, ...] | None, planned: tuple[str, ...]
) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        made = await olga.invite(role, name="Zoe", classes=classes, days=2)
        assert (made.role, made.name, made.classes) == (role.value, "Zoe", planned)
        assert abs(made.expires - time.time() - 2 * DAY) < 60
        zoe, joined = await cast.newcomer("zoe").join(made.link)
        async with zoe:
            assert (joined.role, joined.status, joined.title) == (
                role.value,
                "unconfirmed",
                "Project Lark" if role is not Role.AUDITOR and (planned or role is not Role.BIDDER)
                else "",
            )  # fmt: skip
            await olga.confirm("Zoe", words=joined.words)
            listed = await members(olga)
            assert (listed["Zoe"].status, set(listed["Zoe"].grants)) == ("confirmed", set(planned))
            status = await zoe.status()
            assert (status.role, status.status) == (role.value, "confirmed")
            held = {n for c, n in held_fields(zoe.session) if c == customers(zoe) and n < 3}
            assert held == set(range(len(planned)))


async def test_an_invite_that_the_rules_refuse_leaves_no_name_behind(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        ada, olga, bo = await cast.actor("ada"), await cast.actor("olga"), await cast.actor("bo")
        for actor, role, days, why in [
            (ada, Role.ADMIN, 14, "only the owner invites an admin"),
            (ada, Role.KEYLESS_ADMIN, 14, "only the owner invites an admin"),
            (bo, Role.BIDDER, 14, "bidder may not"),
            (olga, Role.OWNER, 14, "nobody is invited as owner"),
            (olga, Role.BIDDER, 31, "within 30 days"),
            (olga, Role.BIDDER, 0, "within 30 days"),
        ]:
            with pytest.raises(Refused, match=why):
                await actor.vault.invite(role, name="Zoe", classes=(), days=days)
            assert actor.lie.sent == []
        with pytest.raises(Refused, match="holds no data"):
            await olga.vault.invite(Role.AUDITOR, name="Zoe", classes=(GENERAL,))
        for blank in ("", "  "):
            with pytest.raises(InputError, match="needs a name"):
                await olga.vault.invite(Role.BIDDER, name=blank)
        assert olga.lie.sent == []
        names = (await read_people(olga.session)).names.values()
        assert "Zoe" not in {each.words for each in names}


async def test_an_invite_is_made_anew_where_others_acted_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with company(tmp_path) as cast:
        olga, ada = await cast("olga"), await cast("ada")
        named = people.write_person
        races = [1, 1]

        async def raced(session: object, party: bytes, name: str) -> None:
            await named(olga.session, party, name)
            if races and races.pop():
                await ada.rotate(collection="customers", fields=["name"])

        monkeypatch.setattr("client.inviting.write_person", raced)
        made = await olga.invite(Role.BIDDER, name="Zoe")
        zoe, _ = await cast.newcomer("zoe").join(made.link)
        await zoe.close()
        races += [1] * ATTEMPTS
        with pytest.raises(Refused, match="meanwhile") as caught:
            await olga.invite(Role.BIDDER, name="Zed")
        assert caught.value.refusal == "stale_act"
        assert not races


async def test_a_refusal_that_trying_again_does_not_mend_is_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoInvites(Lie):
        async def submit(
            self, honest: Transport, vault_id: bytes, act: api.SubmitAct
        ) -> api.Submitted:
            if len(act.envelope) > 0 and b"invite" in act.envelope:
                raise Refused("no space", code="storage_full")
            return await honest.submit(vault_id, act)

    async with company(tmp_path) as cast:
        olga = await cast.actor("olga", NoInvites())
        with pytest.raises(Refused, match="no space"):
            await olga.vault.invite(Role.BIDDER, name="Zoe")
        assert olga.lie.sent == ["stage", "submit", "submit"]


async def test_a_name_that_cannot_be_committed_is_said_and_no_invite_is_made(
    tmp_path: Path,
) -> None:
    class NoNames(Lie):
        async def submit(
            self, honest: Transport, vault_id: bytes, act: api.SubmitAct
        ) -> api.Submitted:
            raise Refused("no space", code="storage_full")

    async with company(tmp_path) as cast:
        olga = await cast.actor("olga", NoNames())
        with pytest.raises(Refused, match="no space"):
            await olga.vault.invite(Role.BIDDER, name="Zoe")
        assert olga.lie.sent == ["stage", "submit"]


async def test_an_invite_is_withdrawn_once_and_then_lets_nobody_in(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        ada = await cast("ada")
        with pytest.raises(InputError, match="has joined already"):
            await ada.withdraw_invite("Una")
        done = await ada.withdraw_invite("Ivy")
        assert done.kind == "withdraw-invite"
        with pytest.raises(Refused, match="the link opens nothing"):
            await cast.newcomer("ivy").join(cast.link)
        with pytest.raises(InputError):
            await ada.withdraw_invite("Ivy")
        with pytest.raises(Refused, match="the invite was withdrawn") as caught:
            invite_behind(ada.session, parse_link(cast.link).secret)
        assert caught.value.refusal == "invite_closed"


async def test_an_invite_ends_by_itself_once_an_admin_dates_it(tmp_path: Path) -> None:
    now = [time.time()]
    async with company(tmp_path, lambda: now[0]) as cast:
        olga = await cast.actor("olga", clock=lambda: now[0])
        made = await olga.vault.invite(Role.BIDDER, name="Zoe", classes=(GENERAL,), days=1)
        through, _ = invite_behind(olga.session, parse_link(made.link).secret)
        now[0] += DAY + 10
        await olga.session.act(lambda _: Draft(acts.Expire()))
        assert olga.session.state.invites[through.member_id].status is InviteStatus.EXPIRED
        with pytest.raises(Refused, match="the invite was expired"):
            invite_behind(olga.session, parse_link(made.link).secret)
        with pytest.raises(Refused, match="the link opens nothing"):
            await cast.newcomer("zoe").join(made.link)


async def test_an_invite_joined_too_late_is_refused_by_its_own_date(tmp_path: Path) -> None:
    now = [time.time()]
    async with company(tmp_path, lambda: now[0]) as cast:
        home = cast.lab.home("zoe", clock=lambda: now[0])
        now[0] += 15 * DAY
        with pytest.raises(Refused, match="has expired"):
            await home.join(cast.link)
        assert not home.keyring_path.exists()  # nor anything that a later command could mean


# --- V6: what the link's secret binds


@pytest.mark.threat("K2")
@pytest.mark.threat("V6")
async def test_an_invite_of_a_forked_log_is_refused_by_the_newcomer(tmp_path: Path) -> None:
    """The server forks before ada's removal; she signs a copy of the owner's invite there."""
    async with company(tmp_path) as cast:
        olga, ada = await cast("olga"), await cast("ada")
        made = await olga.invite(Role.BIDDER, name="Zoe", classes=(GENERAL,))
        secret = parse_link(made.link).secret
        _, invite = invite_behind(olga.session, secret)
        act = olga.session.believed.acts[invite.made_at]
        assert act is not None
        log = await ForgedLog.of(cast.lab, olga.session, invite.made_at)
        copied = log.draft(ada.identity, act.payload)
        log.take(log.signed(ada.identity, copied, log.sides(ada.session, copied)))
        newcomer = cast.newcomer("zoe", told := Forger(log))
        with pytest.raises(NotAuthorised, match="not the one that the link was made for"):
            await newcomer.join(made.link)
        assert told.sent == []
        assert not newcomer.directory.exists()
        told.telling = False
        zoe, _ = await newcomer.join(made.link)
        await zoe.close()


async def test_a_link_of_another_invite_or_vault_is_named_so(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        unknown = InviteSecret(bytes(32))
        with pytest.raises(Refused, match="not of an invite of this vault"):
            invite_behind(olga.session, unknown)
