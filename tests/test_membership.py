"""Inviting, confirming, granting, removing, by the real client (THREATS: K1, K2, V7, Z4)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from client import membership
from client.catalogs import read_people
from client.crypto.secrets import InviteSecret
from client.errors import InputError, Refused
from client.links import parse_link
from client.membership import (
    PEOPLE,
    field_labels,
    find_member,
    find_party,
    held_fields,
    invite_behind,
    make_rules,
    observations,
    remember_words,
    rule_text,
    words_with,
    write_person,
)
from client.results import MemberInfo
from client.session import ATTEMPTS, Draft
from client.transport import Transport
from client.vault import Vault
from client.words import pair_words
from protocol import acts, api
from protocol.acts import Reason, Role, Rule
from protocol.api import Observation, ObservationsPage
from protocol.blocks import PEOPLE_COLLECTION, FieldClass, is_catalog
from protocol.errors import (
    ContextMismatch,
    IntegrityError,
    MalformedMessage,
    ManifestMismatch,
    NotAuthorised,
    PinMismatch,
)
from protocol.labels import Label
from protocol.ledger.parties import InviteState, InviteStatus
from protocol.limits import DAY
from protocol.observations import ObservationBody
from protocol.wire import Envelope, from_bytes, pae, to_bytes
from tests.company import ALL, CLASSES, TABLE, Company, company
from tests.liars import ForgedLog, Forger, Lie, Signed
from tests.world import of_class, of_field
from vault.checkpoints import SignedObservation

GENERAL, SENSITIVE, CORE = ALL


async def members(vault: Vault) -> dict[str | None, MemberInfo]:
    return {each.name: each for each in await vault.members()}


async def id_of(cast: Company, name: str) -> bytes:
    return (await cast(name)).identity.member_id


def customers(vault: Vault) -> bytes:
    return next(c for c in vault.session.state.collections if c != PEOPLE_COLLECTION)


def kinds(vault: Vault, since: int = 0) -> list[str]:
    return [act.kind for act in vault.session.believed.acts[since:] if act is not None]


# --- who is there


async def test_everybody_is_listed_with_what_one_may_know_of_them(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        listed = await members(await cast("olga"))
        assert {name: (m.role, m.status) for name, m in listed.items()} == {
            "Olga": ("owner", "confirmed"),
            "Ada": ("admin", "confirmed"),
            "Kim": ("keyless-admin", "confirmed"),
            "Bo": ("bidder", "confirmed"),
            "Aud": ("auditor", "confirmed"),
            "Rex": ("bidder", "revoked"),
            "Una": ("bidder", "unconfirmed"),
            "Uma": ("admin", "unconfirmed"),
            "Ivy": ("bidder", "invited"),
        }
        assert listed["Olga"].me
        assert listed["Olga"].words is None
        assert listed["Ivy"].words is None
        assert listed["Bo"].words == await (await cast("bo")).words(
            (await id_of(cast, "olga")).hex()
        )
        assert (listed["Bo"].grants, listed["Una"].planned) == (("general",), ("general",))
        assert listed["Bo"].compared
        assert not listed["Una"].compared
        by_bo = await (await cast("bo")).members()
        assert {each.name for each in by_bo} == {None}
        assert len(by_bo) == len(listed)


async def test_somebody_is_found_by_name_id_prefix_or_words(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        bo = await id_of(cast, "bo")
        words = words_with(olga.session, bo)
        for text in ("Bo", " bO ", bo.hex(), bo.hex().upper(), bo.hex()[:6], words, words[:20]):
            assert (await find_party(olga.session, text)).id == bo
        assert isinstance(await find_party(olga.session, "Ivy"), InviteState)
        assert (await find_member(olga.session, "Olga")).id == olga.identity.member_id
        for text in ("Nobody", "", bo.hex()[:5], bo.hex() + "00", "Rex"):
            with pytest.raises(InputError, match="names nobody here"):
                await find_party(olga.session, text)
        with pytest.raises(InputError, match="nobody has used yet"):
            await find_member(olga.session, "Ivy")


@pytest.mark.threat("K1")
async def test_a_name_never_passes_for_somebody_elses_id_or_words(tmp_path: Path) -> None:
    """Names are an admin's to give: the one whose id is typed is the one who is meant."""
    async with company(tmp_path) as cast:
        olga, ada = await cast("olga"), await cast("ada")
        bo = await id_of(cast, "bo")
        words = words_with(olga.session, bo)
        puppet = bytes.fromhex((await ada.invite(Role.BIDDER, name="Zed")).invite_id)
        await write_person(ada.session, puppet, bo.hex())
        await olga.session.sync()
        assert (await find_party(olga.session, bo.hex())).id == bo
        for name in (bo.hex()[:8], words, "Bo"):
            await write_person(ada.session, puppet, name)
            await olga.session.sync()
            with pytest.raises(InputError, match="names several members"):
                await find_party(olga.session, name)
        # Nor may she name whom she did not invite.
        await write_person(ada.session, await id_of(cast, "una"), "Nina")
        await olga.session.sync()
        with pytest.raises(InputError, match="names nobody"):
            await find_party(olga.session, "Nina")


# --- words


@pytest.mark.threat("K1")
@pytest.mark.threat("K2")
async def test_nobody_is_confirmed_before_the_words_were_compared(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast.actor("olga")
        una = await cast("una")
        await olga.session.sync()
        right = await una.words(olga.id.hex())
        with pytest.raises(Refused, match="were not compared") as caught:
            await olga.vault.confirm("Una")
        assert caught.value.refusal == "not_compared"
        assert right in str(caught.value.hint)
        bo = await id_of(cast, "bo")
        for wrong in (await olga.vault.words(bo.hex()), " ".join(right.split()[::-1])):
            with pytest.raises(PinMismatch):
                await olga.vault.confirm("Una", words=wrong)
        with pytest.raises(MalformedMessage):
            await olga.vault.confirm("Una", words="zoo zoo")
        assert una.identity.member_id not in olga.session.store.compared()
        assert olga.lie.sent == []
        assert len(una.session.believed.wraps) == len(olga.session.believed.wraps)
        done = await olga.vault.confirm("Una", words=" ".join(w[:4] for w in right.split()))
        assert (done.kind, done.member_id) == ("confirm", una.identity.member_id.hex())
        assert una.identity.member_id in olga.session.store.compared()
        assert (await una.read("customers", fields=["name"])).num_rows == 3


@pytest.mark.threat("K1")
@pytest.mark.threat("V7")
async def test_whoever_took_a_link_for_somebody_else_has_other_words(tmp_path: Path) -> None:
    """The server read the link and joined first; whom the words are asked of tells its own."""
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        thief, joined = await cast.newcomer("thief").join(cast.link)
        async with thief:
            with pytest.raises(Refused, match="the link opens nothing"):
                await cast.newcomer("ivy").join(cast.link)
            true_ivy = await cast.newcomer("elsewhere").create_vault(
                "https://localhost:8443", title="x", token=cast.lab.token
            )
            told = pair_words(
                olga.session.vault_id, true_ivy.identity.member_id, olga.identity.member_id
            )
            await true_ivy.close()
            with pytest.raises(PinMismatch):
                await olga.confirm("Ivy", words=told)
            wrapped = [a for a, who in olga.session.believed.wraps if who.hex() == joined.member_id]
            assert wrapped
            assert all(is_catalog(address.field) for address in wrapped)
            # What the link opened is names; of the class that was planned, and nothing else (V7).
            (seen,) = await thief.collections()
            assert [field.name for field in seen.fields] == ["name", None, None]
            assert not any(field.readable for field in seen.fields)
            with pytest.raises(Refused):
                await thief.read("customers", fields=["name"])
            await olga.revoke("Ivy", Reason.BREACH)
            with pytest.raises(Refused, match="no longer a member"):
                await thief.collections()
        assert joined.status == "unconfirmed"


async def test_one_comparison_is_remembered(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        una = await id_of(cast, "una")
        assert not remember_words(olga.session, una, None, False)
        assert remember_words(olga.session, una, None, True)
        assert remember_words(olga.session, una, None, False)
        await olga.confirm("Una")
        with pytest.raises(Refused, match="not waiting to be confirmed"):
            await olga.confirm("Una")


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
        assert "Zoe" not in (await read_people(olga.session)).names.values()


async def test_an_invite_is_made_anew_where_others_acted_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with company(tmp_path) as cast:
        olga, ada = await cast("olga"), await cast("ada")
        named = membership.write_person
        races = [1, 1]

        async def raced(session: object, party: bytes, name: str) -> None:
            await named(olga.session, party, name)
            if races and races.pop():
                await ada.rotate(collection="customers", fields=["name"])

        monkeypatch.setattr(membership, "write_person", raced)
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


# --- V6: what the link's secret binds


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


# --- grants, roles


async def test_grants_are_made_and_ended_by_class_and_by_field(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, ada, bo = await cast("olga"), await cast("ada"), await cast("bo")
        assert (await ada.grant("Bo", fields=["iban"])).kind == "grant"
        assert (await bo.read("customers", fields=["iban"])).num_rows == 3
        assert (await members(olga))["Bo"].grants == ("general", "field 2 in customers")
        await ada.withdraw_grant("Bo", fields=["iban"], collection="customers")
        with pytest.raises(Refused):
            await bo.read("customers", fields=["iban"])
        with pytest.raises(Refused, match="has no such grant"):
            await ada.withdraw_grant("Bo", fields=["iban"])
        await ada.grant("Bo", classes=[SENSITIVE], collection="customers")
        assert "sensitive in customers" in (await members(olga))["Bo"].grants
        await ada.withdraw_grant("Una", classes=[GENERAL])
        assert (await members(olga))["Una"].planned == ()
        una = (await id_of(cast, "una")).hex()
        for vault in (bo, await cast("kim"), await cast("una"), await cast("aud")):
            with pytest.raises(Refused):
                await vault.grant(una, classes=[GENERAL])
        with pytest.raises(Refused):
            await bo.withdraw_grant(una, classes=[GENERAL])
        with pytest.raises(Refused, match="not confirmed yet"):
            await olga.grant("Una", classes=[CORE])
        with pytest.raises(Refused, match="holds no data"):
            await olga.grant("Aud", classes=[CORE])
        with pytest.raises(InputError, match="nothing named"):
            await olga.grant("Bo")


async def test_rules_are_made_of_names_that_stand_for_one_field(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        session, where = olga.session, customers(olga)
        both = await make_rules(session, [CORE, GENERAL, CORE], ["iban"], where)
        assert set(both) == {of_class(CORE, where), of_class(GENERAL, where), of_field(where, 2)}
        assert list(both) == sorted(both, key=to_bytes)
        assert await make_rules(session, [], ["phone"], None) == (of_field(where, 1),)
        with pytest.raises(InputError, match="no field 'fax'"):
            await make_rules(session, [], ["fax"], None)
        await olga.upload(TABLE, collection="more", classes=CLASSES)
        with pytest.raises(InputError, match="several collections have a field 'phone'"):
            await make_rules(session, [], ["phone"], None)
        assert await make_rules(session, [], ["phone"], where) == (of_field(where, 1),)
        assert rule_text(Rule(bytes(16), CORE, None), {}) == "core in ?"


async def test_a_role_is_changed_by_the_owner_alone(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, ada = await cast("olga"), await cast("ada")
        assert (await olga.change_role("Ada", Role.KEYLESS_ADMIN)).kind == "change-role"
        assert (await members(olga))["Ada"].grants == ()
        await ada.session.sync()
        # It sees names as before, and nothing sealed from now on.
        await olga.rotate()
        (seen,) = await ada.collections()
        assert [field.name for field in seen.fields] == ["name", "phone", "iban"]
        assert not any(field.readable for field in seen.fields)
        for member, role in (("Olga", Role.ADMIN), ("Bo", Role.OWNER)):
            with pytest.raises(Refused, match="by handover only"):
                await olga.change_role(member, role)
        with pytest.raises(Refused):
            await ada.change_role("Bo", Role.ADMIN)
        await olga.change_role("Aud", Role.ADMIN)
        assert await (await cast("aud")).members()


# --- removing


async def test_a_removal_cuts_off_and_replaces_what_its_author_may_hold(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        ada, bo = await cast("ada"), await cast("bo")
        await bo.read("customers", fields=["name"])
        await ada.grant("Bo", fields=["iban"])
        await ada.withdraw_grant("Bo", fields=["iban"])
        done = await ada.revoke("Bo", Reason.LOST_BID)
        assert done.name == "Bo"
        # What was withdrawn before it could have kept; that counts as what it could have read.
        names = ("name", "iban", "names of general fields", "names of core fields")
        assert set(done.could_read) == set(names)
        assert (done.admitted_reads > 0, done.admitted_blocks > 0) == (True, True)
        assert set(done.rotated.fields) >= {"name", "names of general fields"}
        assert done.left_tainted == ()
        assert done.rotated.index is not None
        assert done.rotated.index > done.index
        with pytest.raises(Refused, match="no longer a member"):
            await bo.read("customers", fields=["name"])
        again = await ada.revoke("Bo", Reason.LOST_BID)
        assert (again.index, again.rotated.index, again.could_read) == (
            done.index,
            None,
            done.could_read,
        )
        assert (await (await cast("olga")).status()).tainted_fields == 0


async def test_an_admin_without_keys_cuts_off_and_leaves_the_rest_to_others(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast:
        kim = await cast("kim")
        done = await kim.revoke("Bo", Reason.LEFT)
        assert (done.rotated.index, done.rotated.fields) == (None, ())
        assert set(done.left_tainted) == {"name", "names of general fields"}
        assert (await kim.status()).tainted_fields == 2
        olga = await cast("olga")
        await olga.upload(TABLE, collection="more", classes=CLASSES)
        rotated = await olga.rotate(collection="customers")
        assert set(rotated.fields) >= set(done.left_tainted)
        assert rotated.wraps > len(rotated.fields)
        assert (await kim.status()).tainted_fields == 0
        assert (await membership.rotate(olga.session, [])).index is None


async def test_what_is_rotated_is_only_what_one_holds(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, ada = await cast("olga"), await cast("ada")
        await olga.withdraw_grant("Ada", classes=[CORE])
        await olga.grant("Bo", classes=[CORE])
        done = await ada.revoke("Bo", Reason.LEFT)
        assert done.left_tainted == ("iban",)
        assert "iban" not in done.rotated.fields
        assert "field 2" not in done.could_read
        with pytest.raises(Refused):
            await ada.rotate(fields=["iban"])
        people = await field_labels(ada.session, [PEOPLE])
        assert people == ("names of people",)


async def test_nobody_removes_the_owner_and_no_admin_another(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        ada, kim, bo = await cast("ada"), await cast("kim"), await cast("bo")
        for vault, who, why in [
            (ada, "Olga", "nobody revokes the owner"),
            (kim, "Olga", "nobody revokes the owner"),
            (ada, "Kim", "only the owner revokes an admin"),
            (kim, "Ada", "only the owner revokes an admin"),
            (bo, (await id_of(cast, "aud")).hex(), "bidder may not"),
        ]:
            with pytest.raises(Refused, match=why):
                await vault.revoke(who, Reason.BREACH)
        olga = await cast("olga")
        await olga.revoke("Ada", Reason.BREACH)
        await olga.revoke("Una", Reason.LEFT)
        listed = await members(olga)
        assert (listed["Ada"].status, listed["Una"].status) == ("revoked", "revoked")


async def test_fields_whose_names_one_may_not_know_are_numbered(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        bo = await cast("bo")
        where = customers(bo)
        assert await field_labels(bo.session, [(where, 0), (where, 2)]) == ("name", "field 2")
        (listed,) = [m for m in await bo.members() if m.me]
        assert listed.grants == ("general",)


# --- observations


async def test_what_the_server_served_is_shown_to_those_who_may_see_it(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        bo = await cast("bo")
        await bo.read("customers", fields=["name"])
        for name in ("olga", "ada", "kim", "aud"):
            seen = await observations((await cast(name)).session)
            mine = [each for each in seen if each.member == bo.identity.member_id]
            assert mine[-1].fields == (0,)
            assert len(seen) == (await cast(name)).session.believed.acts.count(None)
        for name in ("bo", "una"):
            with pytest.raises(Refused):
                await observations((await cast(name)).session)


Change = Callable[[tuple[Observation, ...]], tuple[Observation, ...]]


class OtherObservations(Lie):
    """Shows other observations than those in the log."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.change = change

    async def observations(
        self, honest: Transport, vault_id: bytes, start: int
    ) -> ObservationsPage:
        page = await honest.observations(vault_id, start)
        return ObservationsPage(self.change(page.observations))


def altered(observation: Observation) -> Observation:
    """Change who read, and sign nothing."""
    envelope = from_bytes(Envelope, observation.envelope)
    body = from_bytes(ObservationBody, envelope.body)
    other = replace(envelope, body=to_bytes(replace(body, member=bytes(32))))
    return replace(observation, envelope=to_bytes(other))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda all: tuple(map(altered, all)), IntegrityError),
        (lambda all: tuple(replace(each, salt=bytes(32)) for each in all), IntegrityError),
        (lambda all: tuple(replace(a, index=b.index) for a, b in turned(all)), IntegrityError),
        (lambda all: all[1:], ManifestMismatch),
        (lambda all: (all[0], *all[2:]), ManifestMismatch),
        (lambda all: all[::-1], ManifestMismatch),
        (lambda all: (all[0], *all), ManifestMismatch),
        (lambda _: (), ManifestMismatch),
    ],
)
async def test_observations_other_than_those_in_the_log_are_refused(
    tmp_path: Path, change: Change, error: type[IntegrityError]
) -> None:
    async with company(tmp_path) as cast:
        await (await cast("bo")).read("customers", fields=["name"])
        ada = await cast.actor("ada", told := OtherObservations(change))
        with ada.catches(error, but="learned"):
            await observations(ada.session)
        # A removal shows them; it stands, and what went wrong is said.
        told.change = lambda all: all[:1]
        assert len(await observations(ada.session)) > 3


def turned(all: tuple[Observation, ...]) -> list[tuple[Observation, Observation]]:
    return list(zip(all[1:] + all[:1], all, strict=True))


@pytest.mark.parametrize(
    ("forge", "error"),
    [
        (lambda body, key: (replace(body, vault_id=bytes(32)), key), ContextMismatch),
        (lambda body, key: (body, SigningKey.generate()), IntegrityError),
    ],
)
async def test_an_observation_counts_only_as_this_vaults_servers(
    tmp_path: Path, forge: Callable[..., tuple[ObservationBody, SigningKey]], error: type
) -> None:
    """Whatever leaf the server put into the log, its body has to be what it seems."""
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        (first, *_) = await observations(olga.session)
        log = await ForgedLog.of(cast.lab, olga.session)
        body, key = forge(first, log.key)
        encoded = to_bytes(body)
        signature = key.sign(pae(Label.OBSERVATION, encoded)).signature
        envelope = to_bytes(Envelope(Label.OBSERVATION, encoded, signature))
        one = SignedObservation(bytes(32), envelope)
        log.take(Signed(one.leaf))

        class Served(Forger):
            async def observations(
                self, honest: Transport, vault_id: bytes, start: int
            ) -> ObservationsPage:
                page = await honest.observations(vault_id, start)
                return ObservationsPage((*page.observations, one.at(log.size - 1)))

        aud = await cast.actor("aud", Served(log))
        with aud.catches(error, but="learned"):
            await observations(aud.session)


# --- the log in words


async def test_the_log_is_told_in_words_as_far_as_one_may_know(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, bo = await cast("olga"), await cast("bo")
        await olga.change_role("Aud", Role.KEYLESS_ADMIN)
        await olga.grant("Bo", fields=["iban"])
        await olga.withdraw_grant("Bo", fields=["iban"])
        await olga.withdraw_invite("Ivy")
        await olga.offer("Bo")
        await bo.reject(Reason.TERMS)
        await olga.rotate()
        await olga.offer("Bo")
        words = await bo.words(olga.identity.member_id.hex())
        await bo.accept(words=words)
        told = await bo.log(verify=True)
        assert told.verified == told.size == len(told.entries)
        by_kind = {entry.kind: entry for entry in told.entries}
        assert by_kind.keys() == {
            "genesis", "create-epoch", "commit", "observation", "define-collection", "invite",
            "join", "confirm", "revoke", "change-role", "grant", "withdraw-grant",
            "withdraw-invite", "offer", "reject", "accept",
        }  # fmt: skip
        # The buyer is the owner now, and knows every name.
        assert by_kind["grant"].author_name == "Olga"
        assert by_kind["grant"].detail == {"who": "Bo", "rules": ["field 2 in customers"]}
        assert by_kind["join"].author_name == "Uma"  # the last one who did
        assert by_kind["reject"].detail["reason"] is Reason.TERMS
        assert by_kind["accept"].detail["records"] == 3
        assert by_kind["withdraw-invite"].detail == {"who": "Ivy"}
        assert by_kind["revoke"].detail == {"who": "Rex", "reason": Reason.LEFT}
        assert by_kind["define-collection"].detail == {"collection": "customers", "fields": 3}
        assert by_kind["observation"].author is None
        # Whoever was removed still has the log up to there, without the names.
        before = await (await cast("aud")).log()
        assert before.entries[-1].kind == "accept"
        assert {entry.author_name for entry in before.entries} == {None}
