"""A home: vaults created and joined, cut off anywhere, and never half believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from client import keeper
from client.crypto.identity import Identity
from client.errors import InputError, Refused, Unreachable
from client.home import Home
from client.keeper import _succeeded
from client.keyring import Keyring, StoredIdentity, VaultEntry
from client.transport import Transport
from client.vault import Vault
from protocol import api
from protocol.blocks import FieldClass
from protocol.errors import SealroomError, Unsupported, WeakKey
from tests.company import TABLE, TITLE, company
from tests.deals import a_server, cheap_keyrings
from tests.in_process import URL, Lab
from tests.liars import Liar, Lie

GENERAL = FieldClass.GENERAL
OTHER_URL = "https://vault.example:9000"


async def create(home: Home, made: Lab, title: str = TITLE, **more: str | None) -> Vault:
    return await home.create_vault(URL, title=title, token=made.token, **more)  # type: ignore[arg-type]


# --- creating


async def test_a_vault_is_created_and_found_again(tmp_path: Path) -> None:
    async with a_server(tmp_path) as made:
        home = made.home("olga")
        async with await home.create_vault(URL + "/", title=TITLE, name="O", token=made.token) as v:
            vault_id = v.vault_id
        again = made.home("olga")
        (listed,) = again.vaults()
        assert (listed.vault_id, listed.title, listed.server) == (vault_id, TITLE, URL)
        assert listed.joined
        for reference in (None, TITLE, vault_id, vault_id[:6]):
            async with again.vault(reference) as vault:
                assert (await vault.title(), vault.vault_id) == (TITLE, vault_id)
                assert (await vault.members())[0].name == "O"


async def test_a_refused_token_leaves_no_entry(tmp_path: Path) -> None:
    async with a_server(tmp_path) as made:
        home = made.home("olga")
        with pytest.raises(Refused, match="token"):
            await home.create_vault(URL, title=TITLE, token="wrong")
        assert home.vaults() == made.home("olga").vaults() == ()
        assert not list(tmp_path.glob("olga/vaults/*"))
        # Its identity was used for nothing, and serves the next one.
        await (await create(home, made)).close()
        assert [each.identity for each in home.vaults()] == ["identity-1"]


@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_around_the_creation_leaves_the_keys(tmp_path: Path, after: bool) -> None:
    """The keyring knows the vault before the server does: nobody owns one without its keys."""

    class Crashing(Lie):
        async def create_vault(self, honest: Transport, request: api.CreateVault) -> api.Submitted:
            if after:
                await honest.create_vault(request)
            raise KeyboardInterrupt

    async with a_server(tmp_path) as made:
        home = made.home("olga", lambda honest: Liar(honest, Crashing()))
        with pytest.raises(KeyboardInterrupt):
            await create(home, made)
        again = made.home("olga")
        assert len(again.vaults()) == 1
        async with again.vault() as vault:
            if after:
                assert (await vault.status()).role == "owner"
                await vault.upload(TABLE, collection="customers")
            else:
                with pytest.raises(Refused):
                    await vault.status()


async def test_a_vault_whose_first_name_could_not_be_written_is_kept(tmp_path: Path) -> None:
    class Cut(Lie):
        async def submit(
            self, honest: Transport, vault_id: bytes, act: api.SubmitAct
        ) -> api.Submitted:
            raise Unreachable("the cable was cut")

    async with a_server(tmp_path) as made:
        with pytest.raises(Unreachable):
            await create(made.home("olga", lambda honest: Liar(honest, Cut())), made)
        async with made.home("olga").vault() as vault:
            assert await vault.title() == TITLE


class OtherInfo(Lie):
    """Says something else about itself."""

    def __init__(self, change: Callable[[api.ServerInfo], api.ServerInfo]) -> None:
        super().__init__()
        self.change = change

    async def server_info(self, honest: Transport) -> api.ServerInfo:
        return self.change(await honest.server_info())


@pytest.mark.threat("K10")
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda info: replace(info, versions=(0,)), Unsupported),
        (lambda info: replace(info, versions=(2, 3)), Unsupported),
        (lambda info: replace(info, checkpoint_key=(1).to_bytes(32, "little")), WeakKey),
        (lambda info: replace(info, checkpoint_key=bytes(32)), WeakKey),
        (lambda info: replace(info, checkpoint_key=b"\xff" * 32), WeakKey),
    ],
)
async def test_no_vault_is_made_on_a_weaker_footing(
    tmp_path: Path,
    change: Callable[[api.ServerInfo], api.ServerInfo],
    error: type[SealroomError],
) -> None:
    async with a_server(tmp_path) as made:
        home = made.home("olga", lambda honest: Liar(honest, lie))
        lie = OtherInfo(change)
        with pytest.raises(error):
            await create(home, made)
        assert home.vaults() == ()
        assert lie.sent == []
        lie.change = lambda info: replace(info, versions=(0, 1, 7))
        async with await create(home, made) as vault:
            assert vault.session.state.suite == 1


@pytest.mark.threat("K10")
async def test_a_server_cannot_tell_its_members_to_speak_an_older_version(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast.actor("olga", OtherInfo(lambda info: replace(info, versions=(0,))))
        await olga.vault.rotate()  # nobody asks it
        assert olga.session.state.suite == 1


async def test_a_genesis_for_another_servers_key_is_refused_by_that_server(tmp_path: Path) -> None:
    async with a_server(tmp_path) as made, a_server(tmp_path / "other") as other:
        info = other.service.info()
        home = made.home("olga", lambda honest: Liar(honest, OtherInfo(lambda _: info)))
        with pytest.raises(Refused, match="another server's key"):
            await create(home, made)
        assert home.vaults() == ()


def test_the_sdk_is_imported_by_its_package_and_nothing_else_is() -> None:
    import client

    for name in client.__all__:
        assert getattr(client, name).__name__ == name
    assert client.Home is Home
    with pytest.raises(AttributeError, match="has no attribute 'Hoem'"):
        getattr(client, "Hoem")  # noqa: B009 - the type checker knows that it is not there


def test_of_two_processes_that_find_a_successor_one_puts_it_in_place() -> None:
    names = ("old", "tried", "new", "spare")
    stored = tuple(StoredIdentity(each, Identity.generate().seed, 0) for each in names)
    entry = VaultEntry(bytes(32), URL, None, "T", "old", None, True, ("tried", "new"), True)
    keyring, seed = Keyring(3, stored, (entry,)), stored[2].seed
    followed = _succeeded(keyring, entry.vault_id, seed)
    assert [each.name for each in followed.identities] == ["new", "spare"]
    assert followed.vaults == (replace(entry, identity="new", successors=(), rescuing=False),)
    assert _succeeded(followed, entry.vault_id, seed) == followed
    assert _succeeded(keyring, entry.vault_id, stored[3].seed) == keyring
    assert _succeeded(Keyring(3, (), ()), entry.vault_id, seed).vaults == ()


async def test_what_another_process_took_out_of_a_home_is_not_put_back(tmp_path: Path) -> None:
    async with a_server(tmp_path) as made:
        home, other = made.home("olga"), made.home("olga")
        async with await create(home, made) as vault:
            entry = home.keyring.vaults[0]
            other._edit(lambda keyring: keyring.without_vault(entry.vault_id))
            with pytest.raises(InputError, match="another command took this vault out"):
                await home.rotate_identity(vault)
        assert made.home("olga").keyring.vaults == ()


def test_two_processes_that_name_an_identity_at_once_keep_both(tmp_path: Path) -> None:
    with cheap_keyrings():
        first, second = (Home(tmp_path, lambda: "a") for _ in range(2))
        first.create_keyring()
        assert second.keyring.identities == ()
        made = (first.new_identity(), second.new_identity())
        assert [each.name for each in made] == ["identity-1", "identity-2"]
        assert Home(tmp_path, lambda: "a").keyring.identities == made
        with pytest.raises(InputError, match="'identity-2' already"):
            first.new_identity("identity-2")


# --- several vaults


async def test_each_vault_has_an_identity_of_its_own(tmp_path: Path) -> None:
    async with a_server(tmp_path) as made:
        home = made.home("olga")
        one, two = await create(home, made, "One"), await create(home, made, "Two")
        async with one, two:
            assert one.identity.member_id != two.identity.member_id
            assert {each.identity for each in home.vaults()} == {"identity-1", "identity-2"}
            with pytest.raises(InputError, match="serves in a vault already"):
                await create(home, made, "Three", identity="identity-1")
            with pytest.raises(InputError, match="several vaults fit: 'One' ") as told:
                home.vault()
            for vault in (one, two):  # each by what nobody else chose
                assert f" {vault.vault_id[:16]} on {URL.removeprefix('https://')}, " in str(
                    told.value
                )
            today = datetime.fromtimestamp(home.vaults()[0].since).date().isoformat()
            assert str(told.value).endswith(f", since {today}")
            for reference, right in (("One", one), (two.vault_id, two), (one.vault_id[:8], one)):
                async with home.vault(reference) as found:
                    assert found.vault_id == right.vault_id
            for reference in ("Three", one.vault_id[:5], "", one.vault_id + "00"):
                with pytest.raises(InputError, match=r"no such vault|no vault"):
                    home.vault(reference)
    with cheap_keyrings():
        empty = made.home("nobody")
        empty.new_identity("me")
        with pytest.raises(InputError, match="this home has no vault yet"):
            empty.vault()


async def test_a_title_never_passes_for_another_vaults_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever invites gives the title: whose id is typed is the one that is meant."""
    async with a_server(tmp_path) as made:
        home = made.home("olga")
        async with await create(home, made, "One") as one:
            mine = one.vault_id
        for title in (mine, mine[:8]):
            async with await create(home, made, title) as evil:
                assert evil.vault_id != mine
        async with home.vault(mine) as found:
            assert found.vault_id == mine
        with pytest.raises(InputError, match="several vaults fit"):
            home.vault(mine[:8])
        monkeypatch.setattr(keeper, "MOST_TOLD", 1)
        with pytest.raises(InputError, match=r"since [-0-9]+; and 2 more$"):
            home.vault()
