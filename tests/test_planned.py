"""What an invite plans beyond its inviter's own is granted by nobody unasked (SPEC 9.3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from client.errors import InputError, Refused
from client.planned import beyond_planner, class_of, planner_of
from client.results.people import ConfirmResult
from client.session import saying
from client.vault import Vault
from protocol import acts
from protocol.acts import Role, Rule
from protocol.blocks import FieldClass
from tests.company import ALL, Company, company, customers, members

GENERAL, SENSITIVE, CORE = ALL


@asynccontextmanager
async def eve_of(
    cast: Company, inviter: str, *classes: FieldClass
) -> AsyncIterator[tuple[Vault, str]]:
    """Have somebody invite Eve with a plan, and Eve join; with her words for the owner."""
    vault = await cast(inviter)
    invited = await vault.invite(Role.BIDDER, name="Eve", classes=classes)
    eve, _ = await cast.newcomer("eve").join(invited.link)
    async with eve:
        owner = await cast("olga")
        yield eve, await eve.words(owner.identity.member_id.hex())


@pytest.mark.threat("K1")
async def test_a_plan_beyond_its_inviter_is_confirmed_by_nobody_who_did_not_say_so(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast, eve_of(cast, "kim", GENERAL, CORE) as (eve, words):
        olga, known = await cast("olga"), eve.identity.member_id
        told = (await members(olga))["Eve"]
        assert (told.planned, told.planned_by) == (("general", "core"), "Kim")
        assert told.beyond == ("general", "core")
        assert await olga.persons(["Eve"]) == (told,)
        for said, unsaid in (
            ((), "general,core"),
            ((GENERAL,), "core"),
            ((SENSITIVE, CORE), "gen"),
        ):
            with pytest.raises(
                Refused, match=f"as Kim planned, who could not grant {unsaid}"
            ) as no:
                await olga.confirm("Eve", words=words, classes=said)
            assert no.value.refusal == "not_said"
            assert f"--classes {unsaid}" in str(no.value.hint)
        # Nothing was remembered of words that came with it, and nothing was granted.
        assert known not in olga.session.store.compared()
        with pytest.raises(Refused, match="never compared") as caught:
            await olga.confirm("Eve", classes=ALL)
        assert "Confirming grants general, core. " in str(caught.value.hint)
        done = await olga.confirm("Eve", words=words, classes=[GENERAL, CORE])
        assert done == ConfirmResult(
            "confirm", done.index, known.hex(), "Eve", ("general", "core"), "Kim"
        )


async def test_a_plan_that_is_not_meant_is_ended_first(tmp_path: Path) -> None:
    async with company(tmp_path) as cast, eve_of(cast, "kim", CORE) as (eve, words):
        olga = await cast("olga")
        await olga.withdraw_grant("Eve", classes=[CORE])
        done = await olga.confirm("Eve", words=words)
        assert (done.granted, done.planned_by) == ((), None)
        with pytest.raises(InputError, match="no collection 'customers'"):
            await eve.read("customers", fields=["iban"])


@pytest.mark.parametrize("inviter", ["Ada", "Olga"])
async def test_what_the_inviter_could_grant_itself_is_only_told(
    tmp_path: Path, inviter: str
) -> None:
    async with company(tmp_path) as cast, eve_of(cast, inviter.lower(), CORE) as (_, words):
        done = await (await cast("olga")).confirm("Eve", words=words)
        assert (done.granted, done.planned_by) == (("core",), inviter)


async def test_whoever_may_not_grant_any_more_planned_beyond_itself(tmp_path: Path) -> None:
    async with company(tmp_path) as cast, eve_of(cast, "ada", GENERAL) as (eve, _):
        olga, ada = await cast("olga"), await cast("ada")
        her = eve.identity.member_id

        def beyond() -> tuple[FieldClass, ...]:
            state = olga.session.state
            return beyond_planner(state, state.members[her])

        await olga.session.sync()
        assert beyond() == ()
        await cast.open["ada"].home.rotate_identity(ada)
        await olga.session.sync()
        state = olga.session.state
        planner = planner_of(state, state.members[her])
        assert planner is not None
        assert planner.id == ada.identity.member_id
        assert beyond() == (GENERAL,)  # nobody made sure yet who that is
        await olga.confirm("Ada", yes=True)
        assert beyond() == ()
        await olga.revoke("Ada")
        assert beyond() == (GENERAL,)


async def test_whoever_reads_and_is_no_admin_any_more_planned_beyond_itself(tmp_path: Path) -> None:
    """It holds what it planned, and could not give it on."""
    async with company(tmp_path) as cast, eve_of(cast, "ada", GENERAL) as (eve, words):
        olga, ada = await cast("olga"), await cast("ada")
        await olga.change_role("Ada", Role.BIDDER)
        state = olga.session.state
        assert state.members[ada.identity.member_id].rules
        assert beyond_planner(state, state.members[eve.identity.member_id]) == (GENERAL,)
        with pytest.raises(Refused, match="as Ada planned, who could not grant general"):
            await olga.confirm("Eve", words=words)


async def test_what_an_admin_does_not_hold_itself_is_beyond_it_class_by_class(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast, eve_of(cast, "ada", GENERAL, CORE) as (eve, words):
        olga = await cast("olga")
        await olga.withdraw_grant("Ada", classes=[CORE])
        state = olga.session.state
        assert beyond_planner(state, state.members[eve.identity.member_id]) == (CORE,)
        with pytest.raises(Refused, match="as Ada planned, who could not grant core"):
            await olga.confirm("Eve", words=words)
        done = await olga.confirm("Eve", words=words, classes=[CORE])
        assert done.granted == ("general", "core")


async def test_rules_of_other_clients_have_the_class_of_their_field(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        await olga.upload(pa.table({"a": [1]}), collection="gone", default=CORE)
        where, state = customers(olga), olga.session.state
        (gone,) = (each for each in state.collections if each not in (bytes(16), where))
        assert class_of(state, Rule(where, None, 1)) is SENSITIVE
        assert class_of(state, Rule(gone, GENERAL, None)) is GENERAL
        await olga.session.act(saying(acts.RetireCollection(gone, acts.Reason.OTHER)))
        assert class_of(olga.session.state, Rule(gone, None, 0)) is CORE
        me = olga.session.state.members[olga.identity.member_id]
        assert planner_of(olga.session.state, me) is None
        assert beyond_planner(olga.session.state, me) == ()
