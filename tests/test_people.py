"""Who is who: names, and words that are compared (THREATS: K1, K2, V7)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from client.errors import InputError, Refused
from client.people import (
    PEOPLE,
    find_member,
    find_party,
    remember_words,
    words_with,
    write_person,
)
from client.session import ATTEMPTS
from client.words import pair_words
from protocol.acts import Reason, Role
from protocol.blocks import is_catalog
from protocol.errors import MalformedMessage, PinMismatch
from protocol.ledger.parties import InviteState
from tests.company import ALL, company, members

GENERAL, SENSITIVE, CORE = ALL


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
            (await cast.id_of("olga")).hex()
        )
        assert (listed["Bo"].grants, listed["Una"].planned) == (("general",), ("general",))
        assert listed["Bo"].compared
        assert not listed["Una"].compared
        by_bo = await (await cast("bo")).members()
        assert {each.name for each in by_bo} == {None}
        planned_by = {each.planned_by for each in by_bo if each.planned}
        assert planned_by == {(await cast.id_of("olga")).hex()[:16]}, "no name of hers is known"
        assert len(by_bo) == len(listed)


async def test_somebody_is_found_by_name_id_prefix_or_words(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        bo = await cast.id_of("bo")
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
        bo = await cast.id_of("bo")
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
        # Nor is what is drawn as nothing a name that anybody says.
        await write_person(ada.session, puppet, "\u200b")
        await olga.session.sync()
        for text in ("", " ", "\u200b"):
            with pytest.raises(InputError, match="names nobody"):
                await find_party(olga.session, text)
        # Nor may she name whom she did not invite.
        await write_person(ada.session, await cast.id_of("una"), "Nina")
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
        with pytest.raises(Refused, match="were never compared") as caught:
            await olga.vault.confirm("Una")
        assert caught.value.refusal == "not_compared"
        assert right in str(caught.value.hint)
        bo = await cast.id_of("bo")
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
        una = await cast.id_of("una")
        assert not await remember_words(olga.session, una, None, False)
        assert await remember_words(olga.session, una, None, True)
        assert await remember_words(olga.session, una, None, False)
        await olga.confirm("Una")
        with pytest.raises(Refused, match="not waiting to be confirmed"):
            await olga.confirm("Una")


# --- names that are being written


async def test_a_name_whose_key_is_closed_before_it_is_staged_is_sealed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with company(tmp_path) as cast:
        here, elsewhere = await cast.actor("olga"), await cast.actor("olga")
        stage, refused = here.session.transport.stage, list[str]()

        async def removed_first(*values: Any) -> None:
            if not refused:
                await elsewhere.vault.revoke("Kim", Reason.LEFT)  # who has the key of all names
            try:
                await stage(*values)
            except Refused as error:
                refused.append(error.refusal)
                raise

        monkeypatch.setattr(here.session.transport, "stage", removed_first)
        await write_person(here.session, await cast.id_of("bo"), "Bob")
        assert refused == ["out_of_order"]
        assert "Bob" in await members(here.vault)


async def test_a_name_that_is_refused_for_another_reason_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with company(tmp_path) as cast:
        olga = await cast.actor("olga")

        asked = list[bytes]()

        async def busy(*values: Any) -> None:
            asked.append(values[1])
            raise Refused("later", code="rate_limited")

        monkeypatch.setattr(olga.session.transport, "stage", busy)
        with pytest.raises(Refused, match="later"):
            await write_person(olga.session, await cast.id_of("bo"), "Bob")
        assert len(asked) == 1, "whoever is told to wait is not helped by asking again"
        assert "Bob" not in await members(olga.vault)


async def test_a_name_of_a_vault_that_is_destroyed_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with company(tmp_path) as cast:
        here, elsewhere = await cast.actor("olga"), await cast.actor("olga")
        stage = here.session.transport.stage

        async def destroyed_first(*values: Any) -> None:
            await elsewhere.vault.destroy(Reason.OTHER)
            await stage(*values)

        monkeypatch.setattr(here.session.transport, "stage", destroyed_first)
        with pytest.raises(Refused):
            await write_person(here.session, await cast.id_of("bo"), "Bob")
        assert here.session.state.ended


async def test_a_name_whose_keys_are_closed_again_and_again_is_refused_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with company(tmp_path) as cast:
        olga, refused = await cast.actor("olga"), list[str]()
        stage, closed = olga.session.transport.stage, olga.session.writable(*PEOPLE)
        await olga.vault.revoke("Kim", Reason.LEFT)

        async def counted(*values: Any) -> None:
            try:
                await stage(*values)
            except Refused as error:
                refused.append(error.refusal)
                raise

        # As if whatever is made were closed before it is used.
        monkeypatch.setattr(olga.session, "writable", lambda *_: closed)
        monkeypatch.setattr(olga.session.transport, "stage", counted)
        with pytest.raises(Refused):
            await write_person(olga.session, await cast.id_of("bo"), "Bob")
        assert refused == ["out_of_order"] * ATTEMPTS
