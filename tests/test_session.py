"""One member at work: drafting, racing, sending, and finding one's acts again."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client.errors import InputError, Refused, Unreachable
from client.session import ATTEMPTS, Draft, saying
from client.transport import Transport
from client.vault import Vault
from protocol import acts, api
from protocol.acts import Reason, Role
from protocol.blocks import PEOPLE_COLLECTION, PEOPLE_FIELD
from protocol.errors import CommitmentMismatch, IntegrityError, Rollback
from protocol.ledger.state import State
from tests.company import ALL, Company, company
from tests.liars import Deaf, Lie

GENERAL, SENSITIVE, CORE = ALL
PEOPLE = (PEOPLE_COLLECTION, PEOPLE_FIELD)


def kinds(vault: Vault) -> list[str]:
    return [act.kind for act in vault.session.believed.acts if act is not None]


async def size(cast: Company) -> int:
    return (await cast("olga")).session.state.size


# --- landing


async def test_an_act_is_found_in_the_verified_log_before_it_counts(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast.actor("olga")
        index = await olga.session.act(saying(acts.Noop()))
        assert index == olga.session.state.size - 1
        act = olga.session.believed.acts[index]
        assert act is not None
        assert (act.kind, act.author) == ("noop", olga.id)
        assert act.cited_size == index


async def test_a_server_that_says_it_landed_and_lies_is_found_out(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast.actor("olga", Deaf())
        with olga.catches(Rollback, match="it is not there", but="learned, sent"):
            await olga.vault.grant("Bo", classes=[CORE])
        assert olga.lie.sent == ["submit"]
        olga.lie.telling = False
        await olga.vault.grant("Bo", classes=[CORE])


async def test_a_server_that_says_it_landed_elsewhere_is_found_out(tmp_path: Path) -> None:
    class Elsewhere(Lie):
        async def submit(
            self, honest: Transport, vault_id: bytes, act: api.SubmitAct
        ) -> api.Submitted:
            answer = await honest.submit(vault_id, act)
            return replace(answer, index=answer.index - 1)

    async with company(tmp_path) as cast:
        olga = await cast.actor("olga", Elsewhere())
        with pytest.raises(Rollback, match="it is not there"):
            await olga.session.act(saying(acts.Noop()))


async def test_an_act_that_landed_is_found_though_the_server_refuses_it(tmp_path: Path) -> None:
    """Its first answer was lost, or it lies: either way nothing is done a second time."""

    class Refusing(Lie):
        async def submit(
            self, honest: Transport, vault_id: bytes, act: api.SubmitAct
        ) -> api.Submitted:
            await honest.submit(vault_id, act)
            raise Refused("no", code="stale_act")

    async with company(tmp_path) as cast:
        olga = await cast.actor("olga", Refusing())
        done = await olga.vault.rotate(collection="customers", fields=["name"])
        assert done.index == olga.session.state.size - 1
        assert olga.lie.sent == ["submit"]
        assert kinds(olga.vault)[-1] == "create-epoch"


async def test_no_answer_is_said_to_be_none_and_the_next_sync_shows(tmp_path: Path) -> None:
    class Cut(Lie):
        async def submit(
            self, honest: Transport, vault_id: bytes, act: api.SubmitAct
        ) -> api.Submitted:
            await honest.submit(vault_id, act)
            raise Unreachable("the cable was cut")

    async with company(tmp_path) as cast:
        olga = await cast.actor("olga", Cut())
        with pytest.raises(Unreachable):
            await olga.vault.grant("Bo", classes=[CORE])
        await olga.session.sync()
        assert kinds(olga.vault)[-1] == "grant"
        with pytest.raises(Refused, match="has these grants already"):
            await olga.vault.grant("Bo", classes=[CORE])


# --- refusals


async def test_what_the_rules_refuse_is_not_sent(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        bo = await cast.actor("bo")
        await bo.session.sync()
        before = bo.session.state.size
        payload = acts.Revoke((await cast("ada")).identity.member_id, Reason.BREACH)
        with pytest.raises(Refused, match="bidder") as caught:
            await bo.session.act(saying(payload))
        assert caught.value.refusal == "not_authorised"
        with pytest.raises(Refused):
            bo.session.expect_allowed(payload)
        assert (bo.lie.sent, bo.session.state.size) == ([], before)
        olga = await cast.actor("olga")
        await olga.session.sync()
        olga.session.expect_allowed(payload)
        assert olga.lie.sent == []


async def test_what_a_role_may_never_do_is_refused_whatever_else_is_said(tmp_path: Path) -> None:
    """Whoever may remove nobody is not told first whom there is nobody to remove."""
    async with company(tmp_path) as cast:
        with pytest.raises(Refused, match="the role bidder may not do this") as caught:
            await (await cast("bo")).revoke("Nobody", Reason.LEFT)
        assert caught.value.refusal == "not_authorised"
        with pytest.raises(InputError, match="'Nobody' names nobody"):
            await (await cast("olga")).revoke("Nobody", Reason.LEFT)


async def test_what_the_server_alone_refuses_is_said_once(tmp_path: Path) -> None:
    class Full(Lie):
        async def submit(
            self, honest: Transport, vault_id: bytes, act: api.SubmitAct
        ) -> api.Submitted:
            raise Refused("no space", code="storage_full")

    async with company(tmp_path) as cast:
        olga = await cast.actor("olga", Full())
        with pytest.raises(Refused, match="no space") as caught:
            await olga.session.act(saying(acts.Noop()))
        assert caught.value.refusal == "storage_full"
        assert olga.lie.sent == ["submit"]


async def test_a_key_that_one_cannot_pass_on_refuses_the_act(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        invited = await olga.invite(Role.ADMIN, name="Eve", classes=[GENERAL])
        eve, joined = await cast.newcomer("eve").join(invited.link)
        async with eve:
            await olga.confirm("Eve", words=joined.words)
            with pytest.raises(Refused, match="who grants data holds all of it"):
                await eve.grant("Bo", classes=[CORE])
            with pytest.raises(Refused, match="who creates an epoch holds its field"):
                await eve.session.act(lambda _: eve.session.next_epochs([(customers(eve), 2)]))


def customers(vault: Vault) -> bytes:
    return next(c for c in vault.session.state.collections if c != PEOPLE_COLLECTION)


@pytest.mark.parametrize("error", [IntegrityError, CommitmentMismatch])
async def test_a_false_key_of_ones_own_is_no_refusal(
    tmp_path: Path, error: type[IntegrityError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was given falsely is not passed on, and is called what it is."""
    async with company(tmp_path) as cast:
        ada = await cast.actor("ada")
        await ada.session.sync()

        def false(*_: object) -> None:
            raise error("it is not the published one")

        monkeypatch.setattr(ada.session.believed, "key", false)
        with ada.catches(error, but="learned"):
            await ada.session.act(saying(acts.Grant(bo_of(ada.vault), (rule(),))))


def rule() -> acts.Rule:
    return acts.Rule(None, CORE, None)


def bo_of(vault: Vault) -> bytes:
    members = vault.session.state.members.values()
    return next(m.id for m in members if m.role is Role.BIDDER and m.live and not m.planned)


async def test_somebody_who_was_removed_is_told_so_and_where(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        rex = await cast.actor("rex")
        with pytest.raises(Refused, match=r"no longer a member of this vault \(act \d+") as caught:
            await rex.session.sync_as_member()
        assert caught.value.refusal == "removed"
        with pytest.raises(Refused, match="no longer a member"):
            await rex.vault.read("customers")
        removed = rex.session.state.members[rex.id].removed_at
        assert removed is not None
        assert rex.session.state.size == removed + 1  # the log, up to there
        del rex.session.believed.state.members[rex.id]  # type: ignore[attr-defined]
        with pytest.raises(Refused, match=r"no longer a member of this vault$"):
            await rex.session.sync_as_member()


# --- races


class Racing(Lie):
    """Lets others act just before each act of this home's, a number of times."""

    def __init__(self, others: Any, times: int) -> None:
        super().__init__()
        self.others = others
        self.times = times

    async def submit(self, honest: Transport, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
        if self.times:
            self.times -= 1
            await self.others()
        return await honest.submit(vault_id, act)


async def test_an_act_is_drafted_anew_where_others_acted_meanwhile(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        ada = await cast("ada")

        async def rotated() -> None:
            await ada.rotate(collection="customers", fields=["name"])

        olga = await cast.actor("olga", Racing(rotated, 2))
        seen: list[State] = []

        def draft(state: State) -> Draft:
            seen.append(state)
            return olga.session.next_epochs([(customers(olga.vault), 0)])

        index = await olga.session.act(draft)
        assert [state.size for state in seen] == sorted({state.size for state in seen})
        assert len(seen) == 3
        assert index == olga.session.state.size - 1


async def test_whoever_always_comes_first_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        ada = await cast("ada")

        async def rotated() -> None:
            await ada.rotate(collection="customers", fields=["name"])

        olga = await cast.actor("olga", Racing(rotated, 1_000))
        with pytest.raises(Refused) as caught:
            await olga.vault.grant("Bo", classes=[CORE])
        assert caught.value.refusal == "stale_act"
        assert olga.lie.sent == ["submit"] * ATTEMPTS


@pytest.mark.threat("W10")
async def test_whoever_floods_is_removed_at_the_first_try(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        ada = await cast("ada")

        async def flooded() -> None:
            await ada.rotate(collection="customers", fields=["name"])

        olga = await cast.actor("olga", Racing(flooded, 1))
        payload = acts.Revoke(ada.identity.member_id, Reason.BREACH)
        await olga.session.act(saying(payload))
        assert olga.lie.sent == ["submit"]
        assert not olga.session.state.members[ada.identity.member_id].live


@pytest.mark.threat("R9")
async def test_two_homes_of_one_member_act_at_once(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        one, other = await cast.actor("olga"), await cast.actor("olga")
        made = [os.urandom(16) for _ in range(6)]
        await asyncio.gather(
            *(
                (one, other)[i % 2].session.act(saying(acts.DefineCollection(each, (GENERAL,))))
                for i, each in enumerate(made)
            )
        )
        await asyncio.gather(one.session.sync(), other.session.sync())
        assert one.session.state == other.session.state
        assert one.session.state.collections.keys() > set(made)


async def test_two_homes_that_say_the_very_same_say_it_once(tmp_path: Path) -> None:
    """The same number, citation and payload make the same bytes: there is nothing to race for."""
    now = time.time()
    async with company(tmp_path, lambda: now) as cast:
        one, other = await cast.actor("olga"), await cast.actor("olga")
        payload = acts.Revoke((await cast("ada")).identity.member_id, Reason.LEFT)
        both = asyncio.gather(*(each.session.act(saying(payload)) for each in (one, other)))
        indexes = await both
        assert indexes[0] == indexes[1]
        assert kinds(one.vault)[-1] == "revoke"


async def test_tasks_of_one_process_act_one_after_the_other(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast.actor("olga")
        indexes = await asyncio.gather(
            *(olga.session.act(saying(acts.Noop())) for _ in range(4)),
            olga.vault.rotate(collection="customers", fields=["name"]),
        )
        assert olga.lie.sent == ["submit"] * 5
        assert len({repr(each) for each in indexes}) == 5


# --- keys


async def test_who_holds_what_and_where_one_may_write(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        ada, bo, kim = await cast("ada"), await cast("bo"), await cast("kim")
        where = customers(ada)
        assert [ada.session.holds(where, n) for n in range(3)] == [True, True, True]
        assert [bo.session.holds(where, n) for n in range(3)] == [True, False, False]
        assert [bo.session.may_open(where, n) for n in range(3)] == [True, False, False]
        assert ada.session.writable(where, 0).epoch == 2
        await kim.revoke("Bo", Reason.LOST_BID)
        await ada.session.sync()
        with pytest.raises(Refused, match="takes no new data") as caught:
            ada.session.writable(where, 0)
        assert caught.value.refusal == "tainted"
        assert ada.session.writable(where, 2).epoch == 1
        await bo.session.sync()
        assert not bo.session.holds(where, 0)
        with pytest.raises(Refused, match="field 5 takes no new data"):
            ada.session.writable(where, 5)  # has no epoch at all


async def test_a_rotation_makes_the_next_epoch_of_each_field_once(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        ada = await cast("ada")
        where = customers(ada)
        draft = ada.session.next_epochs([(where, 2), (where, 0), (where, 2)])
        assert isinstance(draft.payload, acts.CreateEpoch)
        assert [(e.field, e.epoch) for e in draft.payload.epochs] == [(0, 3), (2, 2)]
        assert draft.created.keys() == {e.address for e in draft.payload.epochs}


async def test_keys_that_somebody_else_made_meanwhile_are_not_made_again(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        await olga.session.act(saying(acts.Revoke(bo_of(olga), Reason.BREACH)))
        field = (customers(olga), 0)

        async def made() -> None:
            await olga.session.sync()
            assert await olga.session.ensure_writable([field]) is not None

        ada = await cast.actor("ada", Racing(made, 1))
        await ada.session.sync()
        before = kinds(ada.vault)
        assert await ada.session.ensure_writable([field]) is None
        assert kinds(ada.vault) == [*before, "create-epoch"]
        assert ada.session.writable(*field).epoch == olga.session.writable(*field).epoch
        assert await ada.session.ensure_writable([field]) is None
        assert ada.lie.sent == ["submit"]


@pytest.mark.threat("V5")
async def test_what_was_sealed_before_a_removal_is_sealed_anew_after_it(tmp_path: Path) -> None:
    """Kim's removal taints the people catalog while a name is on its way under the old key."""
    async with company(tmp_path) as cast:
        olga = await cast("olga")

        async def removed() -> None:
            await olga.revoke("Kim", Reason.BREACH)

        ada = await cast.actor("ada", Racing(removed, 1))
        await ada.session.sync()
        before = ada.session.writable(*PEOPLE)
        await ada.vault.invite(Role.AUDITOR, name="Eve")
        tainted = ada.session.state.epoch(before)
        assert tainted is not None
        assert tainted.tainted
        people = ada.session.state.collections[PEOPLE_COLLECTION]
        revoked = max(m.removed_at or 0 for m in ada.session.state.members.values())
        late = [batch for batch in people.batches if batch.committed_at > revoked]
        assert late
        assert all(b.manifest.blocks[0].epoch > before.epoch for b in late)
        assert "Eve" in {each.name for each in await olga.members()}
        # Its citation is from before the removal too, so the invite is made anew, and named so.
        anew = ["stage", "submit", "submit"]
        assert ada.lie.sent == ["stage", "submit", "stage", "submit", *anew]
