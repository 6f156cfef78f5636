"""Identities rotated, on paper and destroyed (SPEC sections 4.5, 9.3 and 9.8)."""

from __future__ import annotations

import base64
import errno
import json
import os
import stat
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client import renewal
from client.crypto import wraps
from client.crypto.identity import Identity
from client.crypto.secrets import Share
from client.errors import InputError, Refused, Unreachable
from client.home import Home
from client.keyring import Keyring
from client.kits import Kit, parse_kit
from client.places import store_path
from client.store import VaultStore
from client.transport import Transport
from client.vault import Vault
from protocol.acts import Reason, Statement, parse_envelope
from protocol.api import LogPage, SubmitAct, Submitted
from protocol.checkpoint import parse_note
from protocol.errors import (
    CommitmentMismatch,
    Fork,
    NotAuthorised,
    PinMismatch,
    Rollback,
    SealroomError,
)
from protocol.ledger import act_leaf
from protocol.ledger.sides import BoxPart
from protocol.merkle import leaf_hash, verify_inclusion
from tests.company import ALL, CLASSES, TABLE, Actor, Company, company, customers, named
from tests.deals import Breaking, Counter, acts_since, as_killed
from tests.in_process import ServiceTransport
from tests.liars import Lie


def seeds(home: Home) -> set[bytes]:
    return {each.seed.expose() for each in home.keyring.identities}


async def reads_all(vault: Vault) -> bool:
    return bool((await vault.read("customers")).equals(TABLE))


# --- rotating


async def test_an_owner_moves_to_new_keys_and_replaces_what_the_old_ones_opened(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast:
        olga = await cast.actor("olga")
        old, size = olga.id, (await cast("ada")).session.state.size
        done = await olga.home.rotate_identity(olga.vault)
        assert (done.old_id, done.new_id) == (old.hex(), olga.id.hex())
        assert olga.id != old
        assert (done.status, done.words) == ("confirmed", None)
        # What the old seed opened takes no more data: every field is under a key it never had.
        assert done.rotated is not None
        assert len(named(done.rotated.fields)) == 7
        assert (await olga.vault.status()).tainted_fields == 0
        assert await acts_since(await cast("ada"), size) == ["rotate-identity", "create-epoch"]
        assert (await cast("ada")).session.state.owner == olga.id
        assert await reads_all(olga.vault)
        assert await reads_all(await cast("ada"))
        await olga.vault.upload(TABLE, collection="more", classes=CLASSES)
        assert (await (await cast("ada")).read("more")).equals(TABLE)


@pytest.mark.threat("K15")
async def test_the_old_keys_are_nobody_to_the_server_and_are_kept_nowhere(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast.actor("olga")
        before = as_killed(olga.home, cast.lab, "as it was")
        (old,) = seeds(before)
        await olga.home.rotate_identity(olga.vault)
        assert old not in seeds(olga.home)
        assert len(olga.home.keyring.identities) == 1
        # Whoever copied the old home has a log that ends where it died, and no more.
        async with before.vault() as thief:
            with pytest.raises(Refused, match="replaced by new keys, which this home does not"):
                await thief.read("customers")
            with pytest.raises(Refused) as caught:
                await thief.rotate()
        assert caught.value.refusal == "replaced"


async def test_an_admin_is_confirmed_anew_by_its_new_words(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        ada, owner = await cast.actor("ada"), await cast("olga")
        before = await owner.words("Ada")
        done = await ada.home.rotate_identity(ada.vault)
        assert (done.status, done.rotated) == ("unconfirmed", None)
        assert await owner.words("Ada") == done.words != before
        assert await reads_all(ada.vault)  # it kept every key that it held
        with pytest.raises(Refused):
            await ada.vault.upload(TABLE, collection="more", classes=CLASSES)
        with pytest.raises(PinMismatch):
            await owner.confirm("Ada", words=before)
        with pytest.raises(Refused, match="never compared"):
            await owner.confirm("Ada")
        await owner.confirm("Ada", words=done.words)
        await ada.vault.rotate(tainted=True)
        await ada.vault.upload(TABLE, collection="more", classes=CLASSES)
        named = {each.name: each for each in await owner.members() if each.status == "confirmed"}
        assert named["Ada"].member_id == done.new_id
        assert len(named["Ada"].grants) == len(ALL)


async def test_a_bidder_and_an_auditor_keep_what_they_had(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        bo, aud = await cast.actor("bo"), await cast.actor("aud")
        was = await bo.vault.read("customers")
        for actor in (bo, aud):
            done = await actor.home.rotate_identity(actor.vault)
            assert done.status == "unconfirmed"
            assert len(actor.home.keyring.identities) == 1
        assert (await bo.vault.read("customers")).equals(was)
        assert len((await aud.vault.log()).entries) > 10
        assert (await (await cast("olga")).status()).tainted_fields > 0


async def test_nobody_but_the_owner_rotates_under_an_offer_or_a_freeze(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        owner, ada = await cast("olga"), await cast.actor("ada")
        await owner.offer("Bo", yes=True)
        with pytest.raises(Refused, match="only the owner"):
            await ada.home.rotate_identity(ada.vault)
        olga = cast.open["olga"]
        done = await olga.home.rotate_identity(olga.vault)
        assert done.rotated is None  # nobody makes keys under an offer
        await (await cast("bo")).reject(Reason.OTHER)
        await olga.vault.freeze()
        with pytest.raises(Refused, match="only the owner"):
            await ada.home.rotate_identity(ada.vault)
        # What the rules refuse is not sent, and leaves no seed behind.
        assert len(ada.home.keyring.identities) == 1
        await olga.home.rotate_identity(olga.vault)
        await olga.vault.unfreeze()
        await olga.vault.rotate(tainted=True)
        assert await reads_all(olga.vault)
        await ada.home.rotate_identity(ada.vault)
        assert len(ada.home.keyring.identities) == 1


def cut_by(counter: Counter) -> Callable[[ServiceTransport], Transport]:
    def breaking(honest: ServiceTransport) -> Transport:
        broken = Breaking(honest, 0)
        broken.counter = counter
        return broken

    return breaking


async def usable(cast: Company, name: str) -> None:
    """Check that somebody has one identity in one place, and works with it."""
    home = cast.lab.home(name)
    async with home.vault() as vault:
        if name == "olga":
            await home.rotate_identity(vault)
        (stored,) = home.keyring.identities
        assert home.keyring.vaults[0].identity == stored.name
        assert home.keyring.vaults[0].successors == ()
        if name == "olga":
            assert (await vault.status()).tainted_fields == 0
        assert await reads_all(vault)
    owner = await cast("olga")
    live = [each for each in owner.session.state.members.values() if each.live]
    assert len(live) == 7
    assert vault.identity.member_id in {each.id for each in live}


@pytest.mark.threat("R2")
@pytest.mark.parametrize("name", ["olga", "ada"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_rotation_cut_off_at_any_call_goes_on(
    tmp_path: Path, name: str, after: bool
) -> None:
    """Each try is of a home as a kill leaves it; nothing is ever left with no keys that work."""
    async with company(tmp_path) as cast:
        counter = Counter(1_000, after, False)
        for at in range(100):
            counter.at, counter.calls = at, 0
            home = cast.lab.home(name, cut_by(counter))
            async with home.vault() as vault:
                try:
                    await home.rotate_identity(vault)
                except Unreachable:
                    continue
            break
        assert at > 2
        await usable(cast, name)
        if name == "ada":
            kinds = [e.kind for e in (await (await cast("olga")).log()).entries]
            assert kinds.count("rotate-identity") == 1


@pytest.mark.threat("R2")
@pytest.mark.parametrize("edit", [1, 2])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_rotation_killed_around_any_save_of_the_keyring_goes_on(
    tmp_path: Path, edit: int, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with company(tmp_path) as cast:
        edits = []
        whole = Home._edit

        def killed(home: Home, change: Callable[[Keyring], Keyring]) -> None:
            edits.append(1)
            if len(edits) == edit and not after:
                raise KeyboardInterrupt
            whole(home, change)
            if len(edits) == edit:
                raise KeyboardInterrupt

        olga = await cast.actor("olga")
        with monkeypatch.context() as patch:
            patch.setattr(Home, "_edit", killed)
            with pytest.raises(KeyboardInterrupt):
                await olga.home.rotate_identity(olga.vault)
        async with cast.lab.home("olga").vault() as vault:
            assert await reads_all(vault)
        await usable(cast, "olga")


async def test_one_whose_rotation_landed_unnoticed_goes_on_by_any_command(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        counter = Counter(1_000, True, False)
        home = cast.lab.home("ada", cut_by(counter))
        async with home.vault() as vault:
            old = vault.identity.member_id
            counter.at = 3  # the act itself, whose answer is lost
            with pytest.raises(Unreachable):
                await home.rotate_identity(vault)
        later = await cast.actor("ada")
        assert await reads_all(later.vault)
        assert later.id != old
        assert len(later.home.keyring.identities) == 1


class Holding(Lie):
    """Answers that acts are refused, and keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[SubmitAct] = []

    async def submit(self, honest: Transport, vault_id: bytes, act: SubmitAct) -> Submitted:
        self.held.append(act)
        raise Refused("not today", code="rate_limited")


async def held_back(cast: Company, name: str, tries: int) -> tuple[Actor, Holding]:
    """Let somebody try to rotate so many times, against a server that holds the acts back."""
    actor = await cast.actor(name, lie := Holding())
    for _ in range(tries):
        with pytest.raises(Refused, match="not today"):
            await actor.home.rotate_identity(actor.vault)
    lie.telling = False
    return actor, lie


@pytest.mark.threat("K15")
@pytest.mark.parametrize("name", ["olga", "ada"])
async def test_each_try_that_may_have_landed_has_a_seed_of_its_own(
    tmp_path: Path, name: str
) -> None:
    """Whoever copies the keyring between two tries has the first one's seed."""
    async with company(tmp_path) as cast:
        actor, _ = await held_back(cast, name, 2)
        stolen = seeds(actor.home)
        assert len(stolen) == 3
        await actor.home.rotate_identity(actor.vault)
        assert not stolen & seeds(actor.home)
        assert len(actor.home.keyring.identities) == 1
        await usable(cast, name)


@pytest.mark.threat("V4")
@pytest.mark.parametrize("which", [0, 1, 2])
async def test_whichever_try_a_server_lands_in_the_end_the_home_goes_on_as_that(
    tmp_path: Path, which: int
) -> None:
    async with company(tmp_path) as cast:
        ada, lie = await held_back(cast, "ada", 3)
        old = ada.id
        made = ada.home.keyring.identities[1 + which]
        await cast.lab.service.submit(ada.session.vault_id, old, lie.held[which])
        # Another process of the home, or this one, finds out by whatever it does next.
        async with cast.lab.home("ada").vault() as later:
            assert await reads_all(later)
            assert later.identity.seed == made.seed
        assert await reads_all(ada.vault)
        assert ada.vault.identity.seed == made.seed
        assert len(cast.lab.home("ada").keyring.identities) == 1


@pytest.mark.threat("V4")
async def test_where_no_more_tries_are_kept_the_earlier_ones_are_ended_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "MAX_SUCCESSORS", 2)
    async with company(tmp_path) as cast:
        ada, lie = await held_back(cast, "ada", 2)
        held, stolen = list(lie.held), seeds(ada.home)
        # While that cannot be done, nothing is begun, and nothing forgotten.
        lie.telling = True
        with pytest.raises(Refused, match="not today"):
            await ada.home.rotate_identity(ada.vault)
        assert seeds(ada.home) == stolen
        lie.telling, size, old = False, ada.session.state.size, ada.id
        await ada.home.rotate_identity(ada.vault)
        assert await acts_since(ada.vault, size) == ["noop", "rotate-identity"]
        assert not stolen & seeds(ada.home)
        for act in held:
            with pytest.raises(SealroomError):
                await cast.lab.service.submit(ada.session.vault_id, old, act)
        await usable(cast, "ada")


async def test_two_processes_that_rotate_at_once_lose_neither_seed(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        lies = (Holding(), Holding())
        tries = [await cast.actor("ada", lie) for lie in lies]
        for actor in tries:
            assert actor.home.keyring.vaults[0].successors == ()  # each has read it by now
        for actor in tries:
            with pytest.raises(Refused, match="not today"):
                await actor.home.rotate_identity(actor.vault)
        for lie in lies:
            lie.telling = False
        vault_id, old = tries[0].session.vault_id, tries[0].id
        await cast.lab.service.submit(vault_id, old, lies[0].held[0])
        assert await reads_all((await cast.actor("ada")).vault)
        await usable(cast, "ada")


# --- keys that were given false


async def gives_false_keys(vault: Vault, **where: Any) -> None:
    """Let an admin make new keys, and box other shares of them for everybody else."""
    honest = wraps._box

    def boxed(identity: Identity, act: Any, after: Any, party: bytes, *rest: Any) -> BoxPart:
        addresses, parts, shares = rest
        if party != identity.member_id:
            shares = {address: Share(os.urandom(32)) for address in shares}
        return honest(identity, act, after, party, addresses, parts, shares)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wraps, "_box", boxed)
        await vault.rotate(**where)


@pytest.mark.threat("Z4")
async def test_whoever_was_given_a_false_key_is_told_which_and_by_whom_and_can_have_it_mended(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast:
        ada, bo = await cast("ada"), await cast.actor("bo")
        await gives_false_keys(ada, collection="customers", fields=["name"])
        at = ada.session.state.control_head
        with pytest.raises(CommitmentMismatch, match="field 0 epoch 3") as caught:
            await bo.home.rotate_identity(bo.vault)
        by = ada.identity.member_id.hex()[:16]
        assert f"given to you false in act {at}, by member {by}" in str(caught.value)
        assert caught.value.hint is not None
        assert "'sealroom rotate --reencrypt'" in caught.value.hint
        assert "--leave-false-keys" in caught.value.hint
        assert len(bo.home.keyring.identities) == 1
        assert (await bo.vault.read("customers")).num_rows == 3
        await (await cast("olga")).rotate(collection="customers", reencrypt=True)
        done = await bo.home.rotate_identity(bo.vault)
        assert done.left == ()
        assert (await bo.vault.read("customers")).num_rows == 3


@pytest.mark.threat("Z4")
async def test_whoever_was_given_false_keys_can_move_on_at_once_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An admin who was let in must not be able to hold somebody to keys that a thief has."""
    monkeypatch.setattr(renewal, "MOST_NAMED", 1)
    async with company(tmp_path) as cast:
        ada, bo, old = await cast("ada"), await cast.actor("bo"), await cast.id_of("bo")
        await gives_false_keys(ada, collection="customers", fields=["name"])
        await gives_false_keys(ada, collection="customers", fields=["name"])
        with pytest.raises(CommitmentMismatch, match=r"field 0 epoch 3 .*; and 1 more$"):
            await bo.home.rotate_identity(bo.vault)
        done = await bo.home.rotate_identity(bo.vault, leave_false_keys=True)
        assert [each.split(" ", 2)[2] for each in done.left] == [
            "field 0 epoch 3",
            "field 0 epoch 4",
        ]
        assert bo.id.hex() == done.new_id != old.hex()
        # What it could open, it opens; what not, not, and nobody else is blamed for it.
        assert (await bo.vault.read("customers")).num_rows == 3
        newest = bo.session.state.newest(customers(bo.vault), 0)
        assert newest is not None
        with pytest.raises(CommitmentMismatch, match="by the one before, which could not open"):
            bo.session.key(newest.definition.address)
        # A member who holds the field mends it, for the new identity too.
        olga = await cast("olga")
        await olga.confirm("Bo", words=done.words)
        await olga.rotate(collection="customers", reencrypt=True)
        assert (await bo.vault.read("customers")).num_rows == 3
        again = await bo.home.rotate_identity(bo.vault)
        assert again.left == ()
        assert (await bo.vault.read("customers")).num_rows == 3


@pytest.mark.threat("Z4")
async def test_a_key_that_was_never_given_is_not_taken_for_a_false_one(tmp_path: Path) -> None:
    """A home that lacks its own boxes loses nothing by moving on: it does not."""
    async with company(tmp_path) as cast:
        bo = await cast.actor("bo")
        bo.session.store._db.execute("DELETE FROM boxes")
        with pytest.raises(NotAuthorised, match="you hold no key"):
            await bo.home.rotate_identity(bo.vault, leave_false_keys=True)
        assert len(bo.home.keyring.identities) == 1


# --- on paper


async def backed_up(actor: Actor, path: Path) -> Kit:
    made = await actor.home.backup(actor.vault, path)
    assert parse_kit(path.read_text()) == made.kit
    assert made.unconfirmed is None
    return made.kit


async def test_a_kit_brings_an_identity_back_into_an_empty_home(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast.actor("olga")
        page = tmp_path / "kit.html"
        kit = await backed_up(olga, page)
        assert stat.S_IMODE(page.stat().st_mode) == 0o600
        for said in ("Olga", "Project Lark", olga.id.hex(), "https://localhost:8443"):
            assert said in page.read_text()
        home = cast.newcomer("found in a safe")
        async with await home.restore(kit) as vault:
            assert vault.identity.member_id == olga.id
            assert await vault.title() == "Project Lark"
            assert await reads_all(vault)
            await vault.rotate()
        assert home.keyring.vaults[0].title == "Project Lark"
        # Again, it changes nothing; and the home that it came from goes on too.
        async with await home.restore(kit) as vault:
            assert await reads_all(vault)
        assert len(home.keyring.identities) == 1
        assert await reads_all(olga.vault)


class Answerless(Lie):
    """Fails as it is told to, whatever it is asked."""

    def __init__(self, error: SealroomError) -> None:
        super().__init__()
        self.error = error

    async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> LogPage:
        raise self.error


class Untrue(Lie):
    """Shows the log under a checkpoint that nobody signed."""

    async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> LogPage:
        page = await honest.log_page(vault_id, start)
        return replace(page, checkpoint=page.checkpoint.replace(b"\n", b"0\n", 2))


FAILING = {
    "it is down": lambda: Answerless(Unreachable("could not reach localhost:8443")),
    "it has another TLS key": lambda: Answerless(PinMismatch("another key")),
    "it refuses": lambda: Answerless(Refused("no", code="busy")),
    "it lies": Untrue,
}


@pytest.mark.parametrize("why", FAILING)
async def test_a_kit_is_made_without_the_server_and_says_that_nobody_confirmed_it(
    why: str, tmp_path: Path
) -> None:
    async with company(tmp_path) as cast:
        await (await cast("olga")).status()
        olga = await cast.actor("olga", FAILING[why]())
        with pytest.raises(SealroomError) as caught:
            await olga.session.sync()
        page = tmp_path / "kit.html"
        made = await olga.home.backup(olga.vault, page)
        assert made.unconfirmed == str(caught.value)
        assert made.kit == parse_kit(page.read_text()) == olga.home.kit(olga.vault)
        for said in ("Project Lark", olga.id.hex(), "https://localhost:8443"):
            assert said in page.read_text()
        async with await cast.newcomer("found in a safe").restore(made.kit) as vault:
            assert await reads_all(vault)


async def test_a_kit_is_made_where_the_copy_of_the_log_was_lost_too(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast.actor("olga", Answerless(Unreachable("no")), fresh=True)
        made = await olga.home.backup(olga.vault, tmp_path / "kit.html")
        assert made.unconfirmed == "no"
        assert olga.id.hex() in (tmp_path / "kit.html").read_text()
        assert made.kit == olga.home.kit(olga.vault)


async def test_names_that_cannot_be_had_keep_no_kit_from_being_made(tmp_path: Path) -> None:
    class Nameless(Lie):
        def fetch(self, *_: Any) -> AsyncGenerator[bytes, None]:
            raise Refused("damaged", code="storage_damaged")

    async with company(tmp_path) as cast:
        olga = await cast.actor("olga", Nameless(), fresh=True)
        made = await olga.home.backup(olga.vault, tmp_path / "kit.html")
        assert made.unconfirmed is None
        assert olga.id.hex() in (tmp_path / "kit.html").read_text()


async def test_keys_that_are_known_to_be_dead_make_no_kit_offline_either(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        bo = await cast.actor("bo")
        await (await cast("olga")).revoke("Bo", Reason.LOST_BID)
        await bo.session.sync()
        bo = await cast.actor("bo", Answerless(Unreachable("no")))
        with pytest.raises(Refused, match="no longer a member"):
            await bo.home.backup(bo.vault, tmp_path / "kit.html")
        assert not (tmp_path / "kit.html").exists()


async def test_where_a_rotation_may_have_landed_only_the_server_can_say_whose_kit_it_is(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast:
        olga = await cast.actor("olga", Unanswered())
        with pytest.raises(Unreachable):
            await olga.home.rotate_identity(olga.vault)
        olga = await cast.actor("olga", Answerless(Unreachable("no")))
        with pytest.raises(Unreachable):
            await olga.home.backup(olga.vault, tmp_path / "kit.html")
        assert not (tmp_path / "kit.html").exists()
        olga = await cast.actor("olga")
        kit = await backed_up(olga, tmp_path / "kit.html")
        assert Identity(kit.seed).member_id == olga.id


class Unanswered(Lie):
    """Lands an act, and does not say so."""

    async def submit(self, honest: Transport, vault_id: bytes, act: SubmitAct) -> Submitted:
        await honest.submit(vault_id, act)
        raise Unreachable("no")


async def test_a_page_is_never_written_over(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast.actor("olga")
        page = tmp_path / "kit.html"
        page.write_text("another vault's")
        with pytest.raises(InputError, match="already"):
            await olga.home.backup(olga.vault, page)
        assert page.read_text() == "another vault's"


async def test_a_kit_of_an_identity_that_was_rotated_restores_nothing(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast.actor("olga")
        kit = await backed_up(olga, tmp_path / "kit.html")
        await olga.home.rotate_identity(olga.vault)
        home = cast.newcomer("found in a safe")
        async with await home.restore(kit) as vault:
            with pytest.raises(Refused, match="replaced"):
                await vault.read("customers")


async def test_a_kit_that_the_server_does_not_know_leaves_nothing_behind(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, stranger = await cast.actor("olga"), cast.newcomer("stranger")
        kit = olga.home.kit(olga.vault)
        other = Kit(kit.vault_id, kit.server, kit.tls_pin, stranger.new_identity().seed)
        home = cast.newcomer("empty")
        with pytest.raises(Refused):
            await home.restore(other)
        assert not home.directory.exists()


async def test_a_keyring_that_cannot_be_written_keeps_no_log_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with company(tmp_path) as cast:
        olga = await cast.actor("olga")
        home = cast.newcomer("full")
        home.create_keyring()

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(home, "_edit", full)
            with pytest.raises(OSError, match="No space"):
                await home.restore(olga.home.kit(olga.vault))
        assert (home.keyring.vaults, home.keyring.identities) == ((), ())
        assert list((home.directory / "vaults").glob("*")) == []


async def test_what_was_verified_of_a_restored_vault_is_pinned_at_once(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast.actor("olga")
        home = cast.newcomer("found in a safe")
        async with await home.restore(olga.home.kit(olga.vault)) as vault:
            shown = vault.session.believed.pin
        with VaultStore(store_path(home.directory, bytes.fromhex(vault.vault_id))) as store:
            assert store.pinned_note() == shown.note()
            assert store.size() == shown.size


async def test_a_kit_does_not_take_the_place_of_somebody_else(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, bo = await cast.actor("olga"), await cast.actor("bo")
        kit = olga.home.kit(olga.vault)
        kept = bo.home.keyring
        with pytest.raises(InputError, match="somebody else"):
            await bo.home.restore(kit)
        assert bo.home.keyring == kept
        # Somebody who is not there any more makes room.
        await (await cast("olga")).revoke("Bo", Reason.LOST_BID)
        async with await bo.home.restore(kit) as vault:
            assert vault.identity.member_id == olga.id
            assert await reads_all(vault)


async def test_a_home_whose_log_was_another_members_learns_the_vault_anew(tmp_path: Path) -> None:
    """The store of a removed member lacks the boxes that were for the one restored here."""
    async with company(tmp_path) as cast:
        ada = await cast.actor("ada")
        kit = ada.home.kit(ada.vault)
        bo = await cast.actor("bo")
        await bo.vault.read("customers")
        await (await cast("olga")).revoke("Bo", Reason.LOST_BID)
        await bo.vault.close()
        async with await bo.home.restore(kit) as vault:
            assert await reads_all(vault)
            assert len(bo.home.keyring.vaults) == 1


# --- destroyed


def proved(cast: Company, path: str) -> Any:
    """Check a proof file with nothing but the server's key; return the act."""
    proof = json.loads(Path(path).read_text())
    key = bytes.fromhex(proof["server_key"])
    assert key == cast.lab.service.info().checkpoint_key
    head = parse_note(proof["checkpoint"].encode(), bytes.fromhex(proof["vault_id"]), key)
    envelope = base64.b64decode(proof["act"])
    inclusion = tuple(map(bytes.fromhex, proof["inclusion"]))
    leaf = leaf_hash(act_leaf(envelope))
    verify_inclusion(leaf, proof["index"], head.size, inclusion, head.root)
    return parse_envelope(envelope)[1]


async def removed(cast: Company) -> Actor:
    bo = await cast.actor("bo")
    await bo.vault.read("customers")
    await (await cast("olga")).revoke("Bo", Reason.LOST_BID)
    return bo


async def test_a_losing_bidder_signs_that_its_keys_are_gone_and_they_are(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        bo = await removed(cast)
        member = bo.id
        done = await bo.home.attest_destroyed(bo.vault)
        act = proved(cast, done.proof)
        assert (act.kind, act.author) == ("attest", member)
        assert stat.S_IMODE(Path(done.proof).stat().st_mode) == 0o600
        assert (bo.home.keyring.vaults, bo.home.keyring.identities) == ((), ())
        assert list((bo.home.directory / "vaults").glob("*")) == []
        owner = await cast("olga")
        (said,) = [e for e in (await owner.log()).entries if e.kind == "attest"]
        assert said.index == done.index
        assert "keys-destroyed" in str(said)


async def test_a_member_keeps_its_keys(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        bo = await cast.actor("bo")
        with bo.catches(Refused, "need your keys", but="learned"):
            await bo.home.attest_destroyed(bo.vault)


async def test_everybody_attests_once_a_vault_was_destroyed(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        owner, bo = await cast.actor("olga"), await cast.actor("bo")
        await owner.vault.destroy()
        for each in (bo, owner):
            done = await each.home.attest_destroyed(each.vault)
            assert proved(cast, done.proof).kind == "attest"
            assert (each.home.keyring.vaults, each.home.keyring.identities) == ((), ())


@pytest.mark.threat("R2")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_an_attestation_cut_off_at_any_call_is_one_in_the_end(
    tmp_path: Path, after: bool
) -> None:
    async with company(tmp_path) as cast:
        await removed(cast)
        counter = Counter(1_000, after, False)
        for at in range(100):
            counter.at, counter.calls = at, 0
            home = cast.lab.home("bo", cut_by(counter))
            async with home.vault() as vault:
                try:
                    done = await home.attest_destroyed(vault)
                except Unreachable:
                    continue
            break
        else:
            raise AssertionError("it never ended")
        assert at > 1
        assert proved(cast, done.proof).kind == "attest"
        kinds = [e.kind for e in (await (await cast("olga")).log()).entries]
        assert kinds.count("attest") == 1


Untruth = Callable[[Submitted], Submitted]


class Unproved(Lie):
    """Says that an act landed, and does not prove it."""

    def __init__(self, untruth: Untruth) -> None:
        super().__init__()
        self.untruth = untruth

    async def submit(self, honest: Transport, vault_id: bytes, act: SubmitAct) -> Submitted:
        return self.untruth(await super().submit(honest, vault_id, act))


def another_leaf(said: Submitted) -> Submitted:
    assert said.receipt is not None
    wrong = tuple(bytes(32) for _ in said.receipt.inclusion)
    return replace(said, receipt=replace(said.receipt, inclusion=wrong))


def another_history(said: Submitted) -> Submitted:
    assert said.receipt is not None
    wrong = tuple(bytes(32) for _ in said.receipt.consistency)
    assert wrong
    return replace(said, receipt=replace(said.receipt, consistency=wrong))


def nothing(said: Submitted) -> Submitted:
    """As to a member, who could look for itself."""
    return replace(said, receipt=None)


def somebody_elses(said: Submitted) -> Submitted:
    return replace(said, index=0, receipt=None)


@pytest.mark.parametrize(
    ("untruth", "error", "match"),
    [
        (another_leaf, Fork, "does not prove"),
        (another_history, Fork, "does not prove"),
        (nothing, Rollback, "not in the log"),
        (somebody_elses, Rollback, "not in the log"),
    ],
)
async def test_keys_stay_where_the_server_proves_nothing(
    tmp_path: Path, untruth: Untruth, error: type[SealroomError], match: str
) -> None:
    """Else a server could have somebody destroy its keys, and deny that it ever said so."""
    async with company(tmp_path) as cast:
        await removed(cast)
        bo = await cast.actor("bo", Unproved(untruth))
        with pytest.raises(error, match=match):
            await bo.home.attest_destroyed(bo.vault)
        assert len(bo.home.keyring.vaults) == len(bo.home.keyring.identities) == 1
        # Against the truth, the same statement is proved.
        honest = await cast.actor("bo")
        done = await honest.home.attest_destroyed(honest.vault)
        assert proved(cast, done.proof).kind == "attest"


class Refusing(Lie):
    """Refuses acts by a code, so many times."""

    def __init__(self, code: str, times: int) -> None:
        super().__init__()
        self.code, self.times = code, times

    async def submit(self, honest: Transport, vault_id: bytes, act: SubmitAct) -> Submitted:
        if self.times:
            self.times -= 1
            raise Refused("not now", code=self.code)
        return await super().submit(honest, vault_id, act)


@pytest.mark.parametrize("code", ["rate_limited", "stale_act"])
async def test_a_statement_is_signed_anew_only_where_what_it_cites_is_too_old(
    tmp_path: Path, code: str
) -> None:
    """Any other may have landed: two of one member would be one too many."""
    async with company(tmp_path) as cast:
        await removed(cast)
        lie = Refusing("rate_limited", 1)
        bo = await cast.actor("bo", lie)
        with pytest.raises(Refused, match="not now"):
            await bo.home.attest_destroyed(bo.vault)
        said = Statement.KEYS_DESTROYED.value
        first = bo.session.store.said(said)
        assert first is not None
        lie.code, lie.times = code, 1
        if code == "stale_act":
            done = await bo.home.attest_destroyed(bo.vault)
            assert proved(cast, done.proof).kind == "attest"
        else:
            with pytest.raises(Refused, match="not now"):
                await bo.home.attest_destroyed(bo.vault)
            assert bo.session.store.said(said) == first


async def test_what_was_attested_from_another_home_is_not_said_twice(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, elsewhere = await cast.actor("olga"), cast.newcomer("elsewhere")
        async with await elsewhere.restore(olga.home.kit(olga.vault)) as vault:
            await olga.vault.destroy()
            await olga.home.attest_destroyed(olga.vault)
            with pytest.raises(Refused, match="attested before, from another home"):
                await elsewhere.attest_destroyed(vault)
            assert vault.session.store.said(Statement.KEYS_DESTROYED.value) is None
