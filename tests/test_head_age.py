"""How old a log's head may be before nobody seals under it any more (SPEC 9.8 and 10.5)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from client import lookout, resealing
from client.errors import InputError, Refused
from client.overlap import Flights
from client.session import HEAD_RENEWALS, in_days
from protocol import acts
from protocol.acts import Citation, Reason, Role
from protocol.errors import NotAuthorised, Stale
from protocol.limits import DAY, LIMITS
from tests.company import TABLE, Actor, Company, company
from tests.deals import acts_since, journal_of, through
from tests.liars import ForgedLog, Forger, Signed
from tests.uploading import Watched

HOUR = 3_600


class Clock:
    """What time it is, for everybody."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


async def of(cast: Company, name: str, clock: Clock) -> Actor:
    actor = await cast.actor(name, clock=clock)
    await actor.session.sync()
    return actor


# --- whose signature counts


async def test_an_owner_signs_the_head_by_itself_when_it_is_time(tmp_path: Path) -> None:
    clock = Clock()
    async with company(tmp_path, clock) as cast:
        olga = await of(cast, "olga", clock)
        renewed = []
        for at, hours in enumerate((23, 23, 25, 1, 24 * 30)):
            clock.now += hours * HOUR
            size = olga.session.state.size
            await olga.vault.upload(TABLE, collection=f"more {at}")
            renewed.append((await acts_since(olga.vault, size)).count("heartbeat"))
            assert olga.session.head_age() < 60
        assert HEAD_RENEWALS == 7
        assert renewed == [0, 0, 1, 0, 1]


async def test_others_read_and_remove_under_an_old_head_and_write_nothing(tmp_path: Path) -> None:
    clock = Clock()
    async with company(tmp_path, clock) as cast:
        ada = await of(cast, "ada", clock)
        clock.now += 8 * DAY
        for writing in (
            lambda: ada.vault.upload(TABLE, collection="more"),
            lambda: ada.vault.invite(Role.BIDDER, name="Zoe"),
        ):
            why = "8 days ago, and this vault's policy is 7 days"
            with ada.catches(Stale, match=why, but="learned"):
                await writing()
        assert journal_of(ada.vault) == (0, 0)
        status = await ada.vault.status()
        assert (status.head_age // DAY, status.head_limit) == (8, 7 * DAY)
        assert (await ada.vault.read("customers")).num_rows == 3
        done = await ada.vault.revoke("Bo", Reason.LEFT)
        assert done.left_tainted == ()


async def test_a_member_whom_the_policy_names_keeps_the_others_writing(tmp_path: Path) -> None:
    clock = Clock()
    async with company(tmp_path, clock) as cast:
        olga, ada = await of(cast, "olga", clock), await of(cast, "ada", clock)
        aud, kim = await of(cast, "aud", clock), await of(cast, "kim", clock)
        changed = await olga.vault.change_policy(head_days=1, head_signers=["Aud"])
        assert (changed.head_days, changed.head_signers) == (1, (aud.id.hex(),))
        clock.now += 2 * DAY
        # Anybody may send a heartbeat; whose counts, the policy says.
        assert (await kim.vault.heartbeat()).kind == "heartbeat"
        with pytest.raises(Stale, match="2 days ago, and this vault's policy is 24 hours"):
            await ada.vault.upload(TABLE, collection="more")
        await aud.vault.heartbeat()
        await ada.vault.upload(TABLE, collection="more")
        # Whoever is named itself needs nobody else.
        await olga.vault.change_policy(head_signers=["Ada"])
        clock.now += 2 * DAY
        size = ada.session.state.size
        await ada.vault.upload(TABLE, collection="still more")
        assert (await acts_since(ada.vault, size))[:2] == ["policy", "heartbeat"]


@pytest.mark.threat("V5")
async def test_a_head_that_grows_too_old_stops_a_rotation_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "LOOK_SECONDS", 0)
    monkeypatch.setattr(resealing, "BUNDLE_BYTES", 1)
    monkeypatch.setattr(resealing, "Flights", lambda: Flights(1))
    clock = Clock()

    class Slow(Watched):
        async def stage(self, *given: Any) -> None:
            await super().stage(*given)
            clock.now += 8 * DAY

    async with company(tmp_path, clock) as cast:
        olga = await of(cast, "olga", clock)
        async with cast.lab.home("ada", clock=clock).vault() as ada:
            slow = Slow(ada)
            with through(ada, slow), pytest.raises(Stale, match="last signed the head"):
                await ada.rotate(reencrypt=True)
            # By the time the second one was on its way, the first one had taken too long.
            assert len(slow.stages) == 1
            await olga.vault.heartbeat()
            done = await ada.rotate(reencrypt=True)
            assert done.reencrypted is not None
            assert done.reencrypted.resumed_blocks > 0
            assert (await ada.read("customers")).equals(TABLE)


async def test_a_removed_head_signer_signs_nothing_any_more(tmp_path: Path) -> None:
    clock = Clock()
    async with company(tmp_path, clock) as cast:
        olga, ada = await of(cast, "olga", clock), await of(cast, "ada", clock)
        await olga.vault.change_policy(head_signers=["Aud"])
        await olga.vault.revoke("Aud", Reason.LEFT)
        assert (await ada.vault.policy()).head_signers == ()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 hours"),
        (HOUR - 1, "0 hours"),
        (HOUR, "1 hour"),
        (2 * DAY - 1, "47 hours"),
        (2 * DAY, "2 days"),
    ],
)
def test_ages_are_told_in_days_or_in_hours(seconds: int, text: str) -> None:
    assert in_days(seconds) == text


# --- a head that is signed for a time to come


async def dated_ahead(cast: Company, clock: Clock, ahead: int) -> tuple[Forger, ForgedLog]:
    """Return a server whose checkpoint of a time to come aud cites, who signs heads."""
    olga, aud = await of(cast, "olga", clock), await of(cast, "aud", clock)
    await olga.vault.change_policy(head_signers=["Aud"])
    log = await ForgedLog.of(cast.lab, olga.session)
    log.clock = clock
    late = Citation.of(log.checkpoint(when=clock.now + ahead))
    log.take(log.spoken(aud.vault.identity, acts.Heartbeat(), cited=late))
    return Forger(log), log


@pytest.mark.threat("V5")
@pytest.mark.parametrize("ahead", [HOUR, 365 * DAY, 2**39])
async def test_a_heartbeat_of_a_time_to_come_lets_nobody_write_and_ends_with_the_next(
    tmp_path: Path, ahead: int
) -> None:
    clock = Clock()
    async with company(tmp_path, clock) as cast:
        told, log = await dated_ahead(cast, clock, ahead)
        olga = cast.open.get("olga") or await of(cast, "olga", clock)
        ada = await cast.actor("ada", told, clock)
        await ada.session.sync()
        with pytest.raises(Stale, match="signed by a clock that is") as caught:
            await ada.session.keep_head_fresh()
        assert "heartbeat" in str(caught.value.hint)
        assert (await ada.vault.status()).head_age == -ahead
        # The owner's next act of any kind counts instead, also that which removes the signer.
        log.take(
            log.spoken(olga.vault.identity, acts.Revoke(await cast.id_of("aud"), Reason.BREACH))
        )
        await ada.session.sync()
        await ada.session.keep_head_fresh()
        clock.now += 5 * 365 * DAY
        await ada.session.sync()
        assert ada.session.head_age() // DAY == 5 * 365
        with pytest.raises(Stale, match="last signed the head of this log"):
            await ada.session.keep_head_fresh()


async def test_as_far_as_clocks_may_differ_a_time_to_come_is_now(tmp_path: Path) -> None:
    clock = Clock()
    async with company(tmp_path, clock) as cast:
        told, _ = await dated_ahead(cast, clock, LIMITS.checkpoint_age_seconds)
        ada = await cast.actor("ada", told, clock)
        await ada.session.sync()
        await ada.session.keep_head_fresh()
        assert ada.session.head_age() == 0


async def test_after_a_clock_that_ran_ahead_the_owner_signs_anew_by_itself(tmp_path: Path) -> None:
    clock = Clock()
    async with company(tmp_path, clock) as cast:
        olga, ada = await of(cast, "olga", clock), await of(cast, "ada", clock)
        clock.now += 30 * DAY
        await olga.vault.heartbeat()
        clock.now -= 30 * DAY
        with pytest.raises(Stale, match="30 days ahead"):
            await ada.vault.upload(TABLE, collection="more")
        size = olga.session.state.size
        await olga.vault.upload(TABLE, collection="more")
        assert (await acts_since(olga.vault, size))[0] == "heartbeat"
        await ada.vault.upload(TABLE, collection="still more")


# --- the policy


async def test_a_policy_is_changed_by_the_owner_and_as_far_as_the_limits_go(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast:
        olga, ada = await cast("olga"), await cast("ada")
        before = await olga.policy()
        changed = await olga.change_policy(invite_days=2, offer_days=0.5, invite_data=True)
        assert (changed.invite_days, changed.offer_days, changed.invite_data) == (2, 0.5, True)
        assert (changed.head_days, changed.head_signers) == (before.head_days, ())
        assert await ada.policy() == changed
        most = LIMITS.head_seconds // DAY
        for days in (0, -1, most + 1):
            with pytest.raises(InputError, match=f"{days} days"):
                await olga.change_policy(head_days=days)
        with pytest.raises(InputError, match="'Nobody' names nobody"):
            await olga.change_policy(head_signers=["Nobody"])
        with pytest.raises(Refused, match="admin may not"):
            await ada.change_policy(head_days=1)
        assert await olga.policy() == changed


# --- V5: a server that hides a removal


async def hidden(cast: Company, clock: Clock) -> tuple[Actor, Forger, Actor]:
    """Return ada, from whom the server hides that bo was removed, and the owner."""
    ada, olga = await of(cast, "ada", clock), await of(cast, "olga", clock)
    log = await ForgedLog.of(cast.lab, ada.session)
    log.clock = clock
    told = Forger(log)
    await olga.vault.revoke("Bo", Reason.BREACH)
    return await cast.actor("ada", told, clock), told, olga


@pytest.mark.threat("V5")
async def test_whoever_is_not_shown_a_removal_writes_nothing_for_long(tmp_path: Path) -> None:
    """What the server shows is signed this very minute; only the owner's own acts are old."""
    clock = Clock()
    async with company(tmp_path, clock) as cast:
        bo = await cast.id_of("bo")
        ada, told, olga = await hidden(cast, clock)
        known = set(ada.session.state.collections)
        clock.now += 7 * DAY + HOUR
        await olga.vault.heartbeat()
        why = "the owner last signed the head of this log 7 days ago"
        with ada.catches(Stale, match=why, but="learned"):
            await ada.vault.upload(TABLE, collection="more")
        assert set(told.log.state.collections) == known
        # Shown the true log it writes, and what it writes is for everybody but bo.
        told.telling = False
        await ada.vault.upload(TABLE, collection="more")
        wraps = ada.session.believed.wraps
        whose = {party for address, party in wraps if address.collection not in known}
        assert ada.id in whose
        assert bo not in whose


async def claimed(*_: object) -> None:
    """Take a batch, it says."""


@pytest.mark.threat("V5")
async def test_what_is_written_under_a_hidden_removal_lands_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    async with company(tmp_path, clock) as cast:
        ada, told, olga = await hidden(cast, clock)
        shown = told.log.size
        clock.now += HOUR
        monkeypatch.setattr(Forger, "stage", claimed)  # the true server has no such epochs
        await ada.vault.upload(TABLE, collection="more")
        assert told.log.size > shown
        honest = await ForgedLog.of(cast.lab, olga.session)
        honest.clock = clock
        first = told.log.leaves[shown]
        honest.force(Signed(first.leaf, tuple(part.sent() for part in first.sides)))
        kim = await cast.actor("kim", Forger(honest), clock)
        with kim.catches(NotAuthorised, match=f"leaf {honest.size - 1} of the log"):
            await kim.session.sync()


# --- what bounds nobody's view but others': the owner's own


@pytest.mark.threat("V5")
async def test_an_owner_from_whom_a_removal_is_hidden_is_told_of_whom_it_hears_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing stops it from writing (SPEC 1.4): an admin may as well have kept silent."""
    clock = Clock()
    async with company(tmp_path, clock) as cast:
        olga, ada = await of(cast, "olga", clock), await of(cast, "ada", clock)
        kim, bo = await of(cast, "kim", clock), await of(cast, "bo", clock)
        told = Forger(await ForgedLog.of(cast.lab, olga.session))
        told.log.clock = clock
        await ada.vault.revoke("Bo", Reason.BREACH)
        misled = await cast.actor("olga", told, clock)
        assert (await misled.vault.status()).unheard == ()
        clock.now += 7 * DAY + HOUR
        monkeypatch.setattr(Forger, "stage", claimed)
        await misled.vault.upload(TABLE, collection="more")
        assert misled.session.state.members[bo.id].live
        silent = (await misled.vault.status()).unheard
        assert [(each.name, each.member_id) for each in silent] == [
            ("Ada", ada.id.hex()),
            ("Kim", kim.id.hex()),
        ]
        assert all(each.seconds // DAY == 7 for each in silent)
        # Whoever did nothing else shows it to the owner; whose acts are hidden cannot.
        told.log.take(told.log.spoken(kim.vault.identity, acts.Heartbeat()))
        assert [each.name for each in (await misled.vault.status()).unheard] == ["Ada"]
        told.log.force(told.log.spoken(ada.vault.identity, acts.Heartbeat(), number=99))
        with misled.catches(NotAuthorised, match="leaf"):
            await misled.vault.status()


async def test_silence_is_told_to_those_who_may_remove_and_of_those_who_may(tmp_path: Path) -> None:
    clock = Clock()
    async with company(tmp_path, clock) as cast:
        clock.now += 8 * DAY
        told = {
            name: [
                each.name for each in (await (await of(cast, name, clock)).vault.status()).unheard
            ]
            for name in ("olga", "ada", "kim", "bo", "aud", "uma")
        }
        assert told == {
            "olga": ["Ada", "Kim"],
            "ada": ["Olga", "Kim"],
            "kim": ["Olga", "Ada"],
            **{"bo": [], "aud": [], "uma": []},
        }
        ada = await of(cast, "ada", clock)
        await ada.home.rotate_identity(ada.vault)
        olga = await of(cast, "olga", clock)
        # Until she is confirmed anew, no removal of hers lands; nor once she is removed.
        clock.now += 8 * DAY
        assert [each.name for each in (await olga.vault.status()).unheard] == ["Kim"]
        await olga.vault.confirm("Ada", yes=True)
        assert {(e.name, e.seconds // DAY) for e in (await olga.vault.status()).unheard} == {
            ("Ada", 8),
            ("Kim", 16),
        }
        await olga.vault.revoke("Ada")
        assert [each.name for each in (await olga.vault.status()).unheard] == ["Kim"]
