"""What a home has of a vault while a kit is restored, and what if that fails (SPEC 4.5)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client import restoring, store_files
from client.crypto.identity import Identity
from client.database import BESIDE
from client.errors import InputError, Refused, Unreachable
from client.home import Home
from client.kits import Kit
from client.places import restored_path
from client.store_files import put_in_place, remove_store
from client.transport import Signer, Transport
from protocol import acts
from protocol.acts import Reason
from protocol.api import LogPage
from protocol.errors import Fork, PinMismatch, Rollback
from tests.company import Company, company, kept_in
from tests.deals import Breaking, Counter
from tests.in_process import URL, ServiceTransport
from tests.liars import ForgedLog, Forger, Liar, Lie
from tests.test_renewal import Answerless, reads_all


def left_in(home: Home) -> tuple[dict[str, Any], set[str]]:
    """Return what a home keeps, and under which names; SQLite's own files come and go."""
    names = {str(each.relative_to(home.directory)) for each in home.directory.rglob("*")}
    return kept_in(home.directory), {n for n in names if not n.endswith(("-wal", "-shm", ".lock"))}


async def former(cast: Company) -> tuple[Kit, Kit]:
    """Have Bo removed, who was seen to compare words; return its kit, and Ada's."""
    bo, ada = await cast.actor("bo"), await cast.actor("ada")
    kits = bo.home.kit(bo.vault), ada.home.kit(ada.vault)
    bo.session.store.mark_compared((await cast("olga")).identity.member_id)
    await (await cast("olga")).revoke("Bo", Reason.LOST_BID)
    await bo.session.sync()
    for each in (bo, ada):
        await each.vault.close()
    return kits


def of_nobody(kit: Kit) -> Kit:
    return replace(kit, seed=Identity.generate().seed)


# --- what fails


async def test_a_kit_that_the_server_says_it_does_not_know_costs_a_former_member_nothing(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast:
        mine, _ = await former(cast)
        home = cast.lab.home("bo")
        await synced(home)
        before = left_in(home)
        with pytest.raises(Refused, match="nothing here for this key"):
            await home.restore(of_nobody(mine))
        now = left_in(home)
        assert without_pin(now) == without_pin(before)
        again = cast.lab.home("bo")
        async with again.vault() as vault:
            assert vault.session.store.compared()
            done = await again.attest_destroyed(vault)
        assert done.statement == "keys-destroyed"


async def synced(home: Home) -> None:
    async with home.vault() as vault:
        await vault.session.sync()


def without_pin(left: tuple[dict[str, Any], set[str]]) -> tuple[dict[str, Any], set[str]]:
    """Leave out the last checkpoint, of which each sync keeps the newest."""
    return {name: rows for name, rows in left[0].items() if not name.endswith("/pin")}, left[1]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_restore_cut_off_at_any_call_leaves_all_as_it_was(
    tmp_path: Path, after: bool
) -> None:
    async with company(tmp_path) as cast:
        _, kit = await former(cast)
        await synced(cast.lab.home("bo"))
        before = without_pin(left_in(cast.lab.home("bo")))
        counter = Counter(1_000, after, False)

        def breaking(honest: ServiceTransport) -> Transport:
            broken = Breaking(honest, 0)
            broken.counter = counter
            return broken

        async def restored(at: int) -> Home | None:
            """Restore with call number `at` broken; None where that is one of them."""
            counter.at, counter.calls = at, 0
            home = cast.lab.home("bo", breaking)
            try:
                vault = await home.restore(kit)
            except Unreachable:
                assert without_pin(left_in(home)) == before
                return None
            counter.at = 1_000
            async with vault:
                assert await reads_all(vault)
            return home

        tries = 0
        while (home := await restored(tries)) is None:
            tries += 1
        assert tries > 2
        # Restored already, it is asked about once more, and stays as it is.
        counter.at, counter.calls = 0, 0
        with pytest.raises(Unreachable):
            await home.restore(kit)
        assert len(home.keyring.identities) == 1
        assert home.keyring.identities[0].seed == kit.seed
        assert not [name for name in left_in(home)[1] if "restored" in name]


@pytest.mark.parametrize("exists", [False, True])
async def test_a_keyring_that_cannot_be_made_leaves_nothing_behind_and_says_why(
    tmp_path: Path, exists: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with company(tmp_path) as cast:
        ada = await cast.actor("ada")
        home = cast.newcomer("full")
        if exists:
            home.directory.mkdir(mode=0o700)

        def full(_: Home) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Home, "create_keyring", full)
        with pytest.raises(OSError, match="No space left"):
            await home.restore(ada.home.kit(ada.vault))
        assert home.directory.exists() == exists
        assert list(home.directory.rglob("*")) == []


async def test_a_keyring_that_was_written_before_it_failed_finds_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the disk fails while the folder is synced."""
    async with company(tmp_path) as cast:
        _, kit = await former(cast)
        edit = Home._edit

        def failing(self: Home, *given: Any) -> None:
            edit(self, *given)
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(Home, "_edit", failing)
            with pytest.raises(OSError, match="Input/output"):
                await cast.lab.home("bo").restore(kit)
        home = cast.lab.home("bo", lambda honest: Liar(honest, Answerless(Unreachable("no"))))
        async with home.vault() as vault:
            assert vault.identity.seed == kit.seed
            assert vault.session.state.size > 1


async def test_what_a_killed_restore_left_is_begun_anew(tmp_path: Path) -> None:
    """Whoever showed it, and however torn it is."""
    async with company(tmp_path) as cast:
        _, kit = await former(cast)
        home = cast.lab.home("bo")
        whole = restored_path(home.directory, kit.vault_id, Identity(kit.seed).member_id)
        for left in (whole, whole.with_name(f"{whole.name}.making")):
            for end in ("", *BESIDE):
                left.with_name(left.name + end).write_bytes(b"torn" * 1_024)
                left.with_name(left.name + end).chmod(0o600)
        async with await home.restore(kit) as vault:
            assert await reads_all(vault)
        assert not [name for name in left_in(home)[1] if "restored" in name]


async def test_whatever_is_opened_for_a_restore_is_closed(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        ada = await cast.actor("ada")
        kit = ada.home.kit(ada.vault)
        opened = list[Closing]()

        def counted(honest: Transport) -> Transport:
            opened.append(Closing(honest))
            return opened[-1]

        with pytest.raises(InputError, match="somebody else"):
            await cast.lab.home("bo", counted).restore(kit)
        with pytest.raises(Refused):
            await cast.lab.home("stranger", counted).restore(of_nobody(kit))
        # At the address that it has already, where nobody answers.
        home = cast.lab.home(
            "ada", lambda honest: counted(Liar(honest, Answerless(Unreachable("no"))))
        )
        with pytest.raises(Unreachable):
            await home.restore(kit)
        assert [each.closed for each in opened] == [True] * 3


class Closing(Liar):
    """Knows whether it was closed."""

    def __init__(self, honest: Transport) -> None:
        super().__init__(honest, Lie())
        self.closed = False

    async def close(self) -> None:
        self.closed = True
        await super().close()


Step = Callable[..., Any]


@pytest.mark.threat("R2")
@pytest.mark.parametrize("step", ["name_whole", "put_in_keyring", "put_in_place", "forgotten"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_restore_killed_around_any_step_leaves_the_one_or_the_other_whole(
    tmp_path: Path, step: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keyring decides: whoever it names finds its own log, and is whole."""
    async with company(tmp_path) as cast:
        mine, kit = await former(cast)
        home = cast.lab.home("bo")

        def killed_around(real: Step) -> Step:
            def killed(*given: Any) -> None:
                if after:
                    real(*given)
                raise SystemExit

            return killed

        with monkeypatch.context() as patch:
            # What a kill leaves, no handler tidies.
            patch.setattr(restoring, "remove_store", lambda _: None)
            if step == "put_in_keyring":
                patch.setattr(Home, "_edit", killed_around(Home._edit))
            elif step == "forgotten":
                place = "client.store_files.remove_store"
                patch.setattr(place, killed_around(remove_store))
            else:
                patch.setattr(restoring, step, killed_around(getattr(restoring, step)))
            with pytest.raises(SystemExit):
                await home.restore(kit)
        now = cast.lab.home("bo")
        (entry,) = now.keyring.vaults
        serving = now.keyring.identity(entry.identity)
        assert serving is not None
        over = (step, after) in {("put_in_keyring", True)} or step in {"put_in_place", "forgotten"}
        assert serving.seed == (kit.seed if over else mine.seed)
        async with now.vault() as vault:
            if over:
                assert await reads_all(vault)
            else:
                await vault.session.sync()
                assert vault.session.store.compared()
        async with await now.restore(kit) as vault:
            assert await reads_all(vault)
        assert [each.seed for each in now.keyring.identities] == [kit.seed]
        assert not [name for name in left_in(now)[1] if "restored" in name]


async def test_a_store_that_another_process_put_in_place_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, path, keyring = (tmp_path / each for each in ("whole", "store", "keyring"))
    whole.write_bytes(b"new")
    path.write_bytes(b"old")

    class Late:
        """Waits for its turn until another process is done."""

        def __init__(self, _: Path) -> None:
            whole.rename(path)

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr("client.store_files.write_lock", Late)
    put_in_place(whole, path, keyring)
    assert path.read_bytes() == b"new"


def test_where_nothing_was_restored_no_other_command_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, path, keyring = (tmp_path / each for each in ("whole", "store", "keyring"))
    path.write_bytes(b"old")

    def held(_: Path) -> None:
        pytest.fail("another command has the keyring's lock, for as long as it asks questions")

    monkeypatch.setattr(store_files, "write_lock", held)
    put_in_place(whole, path, keyring)
    assert path.read_bytes() == b"old"


def test_the_old_store_is_gone_for_good_before_the_new_one_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the power could leave the new one beside the old one's log of writes."""
    whole, path, keyring = (tmp_path / each for each in ("whole", "store", "keyring"))
    for name in ("whole", "store", *(f"store{end}" for end in BESIDE)):
        (tmp_path / name).write_bytes(name.encode())
    synced = []

    def sync_folder(folder: Path) -> None:
        """Note what a loss of power just after would leave."""
        assert folder == tmp_path
        synced.append({f.name: f.read_bytes() for f in folder.iterdir() if f.suffix != ".lock"})

    monkeypatch.setattr(store_files, "sync_folder", sync_folder)
    put_in_place(whole, path, keyring)
    assert synced == [{"whole": b"whole"}, {"store": b"whole"}]


async def test_a_vault_that_changed_in_this_home_meanwhile_is_left_as_it_is_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with company(tmp_path) as cast:
        _, kit = await former(cast)
        home, other = cast.lab.home("bo"), cast.lab.home("bo")
        true = Home._learned

        async def meanwhile(self: Home, *given: Any) -> str:
            title = await true(self, *given)
            other._revise(kit.vault_id, lambda entry: replace(entry, title="renamed"))
            return title

        monkeypatch.setattr(Home, "_learned", meanwhile)
        with pytest.raises(InputError, match="another command changed this vault"):
            await home.restore(kit)
        (entry,) = cast.lab.home("bo").keyring.vaults
        assert entry.title == "renamed"
        assert not [name for name in left_in(home)[1] if "restored" in name]


async def test_a_kit_that_is_found_ends_a_rescue(tmp_path: Path) -> None:
    """Whoever asks for its shares reads the log, and is nobody in it."""
    async with company(tmp_path) as cast:
        olga = await cast.actor("olga")
        await olga.vault.set_up_recovery(["Ada", "Kim", "Aud"], 2)
        kit, home = olga.home.kit(olga.vault), cast.newcomer("new machine")
        asked = home.rescue_request(URL, kit.vault_id, None)
        await (await cast("ada")).release_share(asked.text, yes=True)
        async with await home.restore(kit) as vault:
            assert await reads_all(vault)
        (entry,) = home.keyring.vaults
        assert not entry.rescuing


async def test_an_identity_that_this_home_has_already_is_kept_once(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        ada = await cast.actor("ada")
        kit, home = ada.home.kit(ada.vault), cast.newcomer("hers")
        stored = replace(home.new_identity("hers"), seed=kit.seed)
        home._edit(lambda keyring: keyring.without_identity("hers").with_identity(stored))
        async with await home.restore(kit) as vault:
            assert await reads_all(vault)
        assert home.keyring.identities == (stored,)
        assert [entry.identity for entry in home.keyring.vaults] == ["hers"]


# --- a server that moved


def reached_at(cast: Company, home: Home, place: tuple[str, bytes | None]) -> None:
    """Have a server answer one address and TLS key alone, as after it moved."""

    def connect(url: str, pin: bytes | None, signer: Signer) -> Transport:
        if url != place[0]:
            return Liar(ServiceTransport(cast.lab.service, signer), Answerless(Unreachable("no")))
        if pin != place[1]:
            return Liar(ServiceTransport(cast.lab.service, signer), Answerless(PinMismatch("no")))
        return ServiceTransport(cast.lab.service, signer)

    home.connect = connect


MOVED = "https://moved.example:1", b"\x17" * 32


@pytest.mark.parametrize("given", [{}, {"server": MOVED[0]}, {"pin": MOVED[1]}])
async def test_a_kit_of_a_server_that_moved_leaves_nothing_behind_until_it_is_told_where(
    given: dict[str, Any], tmp_path: Path
) -> None:
    async with company(tmp_path) as cast:
        olga = await cast.actor("olga")
        kit = olga.home.kit(olga.vault)
        home = cast.newcomer("found in a safe")
        reached_at(cast, home, MOVED)
        for _ in range(2):
            with pytest.raises((Unreachable, PinMismatch)):
                await home.restore(kit, **given)
            assert not home.directory.exists()
        async with await home.restore(kit, server=MOVED[0], pin=MOVED[1]) as vault:
            assert (vault.server, vault.pin) == MOVED
            assert await reads_all(vault)
        (entry,) = home.keyring.vaults
        assert (entry.server, entry.tls_pin) == MOVED
        # A kit that was printed since tells both, and is believed before any certificate.
        again = cast.newcomer("found again")
        reached_at(cast, again, MOVED)
        async with await again.restore(home.kit(vault)) as vault:
            assert (vault.server, vault.pin) == MOVED
        assert [each.name for each in home.keyring.identities] == ["restored-1"]


async def test_a_home_that_is_back_already_is_told_where_its_server_moved_to(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast:
        olga = await cast.actor("olga")
        kit, before = olga.home.kit(olga.vault), olga.home.keyring
        reached_at(cast, olga.home, (kit.server, MOVED[1]))
        for wrong in (None, bytes(32)):
            with pytest.raises(PinMismatch):
                await olga.home.restore(kit, pin=wrong)
            assert olga.home.keyring == before
        async with await olga.home.restore(kit, pin=MOVED[1]) as vault:
            assert await reads_all(vault)
        # What this home knows by now is newer than what stands on the paper.
        async with await olga.home.restore(kit) as vault:
            assert vault.pin == MOVED[1]
        reached_at(cast, olga.home, MOVED)
        async with await olga.home.restore(kit, server=MOVED[0]) as vault:
            assert (vault.server, vault.pin) == MOVED
        assert len(olga.home.keyring.identities) == len(before.identities)


# --- what a server shows to the kit's identity


class AsAda(Lie):
    """Shows anybody's key the log, as if it were Ada's."""

    def __init__(self, honest: Transport) -> None:
        super().__init__()
        self.ada = honest

    async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> LogPage:
        return await self.ada.log_page(vault_id, start)


async def test_a_kit_of_nobody_is_not_restored_whatever_the_server_shows_it(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        ada = await cast.actor("ada")
        kit = of_nobody(ada.home.kit(ada.vault))
        home = cast.newcomer("paper", AsAda(ada.session.transport))
        with pytest.raises(InputError, match="nobody in that vault"):
            await home.restore(kit)
        assert not home.directory.exists()


def lying_to(kit: Kit, lie: Lie) -> Callable[[ServiceTransport], Transport]:
    """Lie to one identity, and tell everybody else the truth."""
    whom = Signer(Identity(kit.seed).request_key, Identity(kit.seed).member_id).keyid
    return lambda honest: Liar(honest, lie) if honest.keyid == whom else honest


async def test_what_the_home_has_seen_is_not_told_otherwise_to_the_kit_s_identity(
    tmp_path: Path,
) -> None:
    """A restore drops the pin of who was there; it must not drop what it holds a server to."""
    async with company(tmp_path) as cast:
        owner = await cast.actor("olga")
        size = owner.session.state.size
        _, kit = await former(cast)
        shorter = await ForgedLog.of(cast.lab, owner.session, size)
        other = shorter.branch()
        for _ in range(3):
            other.take(other.spoken(owner.vault.identity, acts.Noop()))
        await synced(cast.lab.home("bo"))
        before = without_pin(left_in(cast.lab.home("bo")))
        home = cast.lab.home("bo", lying_to(kit, Forger(shorter)))
        with pytest.raises(Rollback):
            await home.restore(kit)
        assert without_pin(left_in(home)) == before
        home = cast.lab.home("bo", lying_to(kit, Forger(other)))
        with pytest.raises(Fork) as caught:
            await home.restore(kit)
        assert without_pin(left_in(home)) == before
        assert caught.value.pinned
        assert caught.value.shown


async def test_who_was_replaced_is_shown_less_than_the_home_has_seen_and_that_is_no_lie(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast:
        ada = await cast.actor("ada")
        kit = ada.home.kit(ada.vault)
        await ada.home.rotate_identity(ada.vault)
        await former(cast)
        home = cast.lab.home("bo")
        async with await home.restore(kit) as vault:
            assert vault.session.state.members[vault.identity.member_id].successor is not None
