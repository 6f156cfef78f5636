"""What a client believes of a log: all of it, never less than before (THREATS: K15, S, H7)."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from client.errors import Refused
from client.store import StoreMoved, VaultStore
from client.transport import Transport
from client.trust import ATTEMPTS, Believed
from protocol import acts
from protocol.acts import Citation, Role
from protocol.api import LogLeaf, LogPage
from protocol.checkpoint import Checkpoint, parse_note, signed_message
from protocol.errors import ContextMismatch, Fork, IntegrityError, Rollback, Stale, Unsupported
from protocol.ledger import Landed, Ledger
from protocol.limits import LIMITS
from tests.company import TABLE, Company, company
from tests.forging import SENSITIVE, bidder, forged, kinds, newest, opens
from tests.in_process import URL
from tests.liars import Altered, ForgedLog, Forger, Lie
from tests.world import of_class

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


class Endless(Lie):
    """Signs a log of 2^40 leaves, and sends observations for as long as somebody asks."""

    def __init__(self, log: ForgedLog) -> None:
        super().__init__()
        self.log, self.pages = log, 0

    async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> LogPage:
        self.pages += 1
        size, root, now = 2**40, bytes(32), int(time.time())
        signature = self.log.key.sign(signed_message(vault_id, size, root, now)).signature
        public = bytes(self.log.key.verify_key)
        shown = Checkpoint.verified(vault_id, size, root, now, signature, public)
        more = tuple(LogLeaf(b"\x02" + os.urandom(32), ()) for _ in range(LIMITS.log_page_leaves))
        leaves = tuple(self.log.leaves[start:]) or more
        return LogPage(start, leaves[: LIMITS.log_page_leaves], shown.note())


@pytest.mark.threat("D6")
@pytest.mark.parametrize("fresh", [True, False], ids=["first contact", "known"])
async def test_a_log_without_end_is_not_begun(tmp_path: Path, fresh: bool) -> None:
    async with company(tmp_path) as cast:
        endless = Endless(await forged(cast))
        bo = await cast.actor("bo", endless, fresh=fresh)
        with bo.catches(Refused, match="at most 1,048,576 are read at once") as caught:
            await bo.session.sync()
        refused = caught.value
        assert isinstance(refused, Refused)
        assert refused.refusal == "long_log"
        assert "--most-leaves" in str(refused.hint)
        assert endless.pages == 1


async def test_as_many_new_leaves_are_read_at_once_as_is_said(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        size = (await forged(cast)).size
        bo = await cast.actor("bo", fresh=True)
        bo.home.most_leaves = size - 1
        short = bo.home.vault()
        with pytest.raises(Refused, match=f"at most {size - 1} are read"):
            await short.session.sync()
        await short.close()
        bo.home.most_leaves = size
        async with bo.home.vault() as vault:
            assert len(await vault.session.sync()) == size
        # What is known already counts for nothing.
        await (await cast("olga")).heartbeat()
        bo.home.most_leaves = 1
        async with bo.home.vault() as vault:
            assert len(await vault.session.sync()) == 1


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
    now = time.time()
    async with company(tmp_path, lambda: now) as cast:
        log = await forged(cast)
        log.clock = lambda: now
        page = log.page(0)

        def frozen(asked: LogPage) -> LogPage:
            return LogPage(asked.start, page.leaves[asked.start :], page.checkpoint)

        bo = await cast.actor("bo", Altered(frozen), lambda: now + late)
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


@pytest.mark.parametrize(("more", "root"), [(0, bytes(32)), (1, None)])
async def test_a_pin_that_a_server_signed_over_other_leaves_is_not_believed(
    tmp_path: Path, more: int, root: bytes | None
) -> None:
    """Whoever writes to this disk may know a server that signs for it."""
    async with company(tmp_path) as cast:
        bo = await cast.actor("bo")
        log = await ForgedLog.of(cast.lab, bo.session)
        pin = log.claimed(log.size + more, root or log.tree.root()).note()
        (path,) = (cast.lab.directory / "bo" / "vaults").glob("*.db")
        with sqlite3.connect(path) as db:
            assert db.execute("UPDATE pin SET note = ?", (pin,)).rowcount == 1
        db.close()
        with pytest.raises(IntegrityError):
            bo.session.believed.verify_again()


async def test_a_copy_that_a_newer_version_wrote_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def newer(_: Ledger, leaf: bytes) -> Landed:
        raise Unsupported("an act of an unknown kind")

    async with company(tmp_path) as cast:
        await cast.actor("bo")
        monkeypatch.setattr(Ledger, "check", newer)
        with pytest.raises(Unsupported, match="unknown kind"):
            await cast.actor("bo")


def test_nothing_is_known_before_the_first_contact() -> None:
    with VaultStore(None) as store:
        believed = Believed(bytes(32), store)
        assert not believed.known
        with pytest.raises(Stale):
            _ = believed.pin


def always(page: LogPage) -> Callable[[LogPage], LogPage]:
    return lambda _: page
