"""Who was offered the vault and did not take it over has its keys; makers of keys are told so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client import new_keys as module
from client.errors import Refused, Unreachable
from client.results.vaults import NewKeys, Way
from client.vault import Vault
from protocol.acts import Reason, Role
from protocol.errors import SealroomError
from protocol.limits import DAY
from tests.cli_world import HOSTILE, ROTATED, SHOWN, STATUS, World, at_a_terminal, made_world
from tests.company import ALL, Company, company


class Clock:
    """A clock that stands still until it is put forward."""

    now = 1_900_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def cast(tmp_path: Path) -> AsyncIterator[Company]:
    async with company(tmp_path) as made:
        yield made


async def declined(cast: Company) -> None:
    await (await cast("olga")).offer("Bo", yes=True)
    await (await cast("bo")).reject(Reason.TERMS)


async def offered(vault: Vault) -> tuple[str, ...]:
    told = (await vault.status()).new_keys
    assert await vault.new_keys() == told
    return told.offered


async def test_those_who_make_keys_are_told_until_all_is_sealed_anew(cast: Company) -> None:
    olga, ada = await cast("olga"), await cast("ada")
    assert await offered(olga) == ()
    await olga.offer("Bo", yes=True)
    assert await offered(olga) == ()  # it may take the vault over yet
    await (await cast("bo")).reject(Reason.TERMS)
    told = {who: await offered(await cast(who)) for who in ("olga", "ada", "kim", "bo", "aud")}
    assert told == {"olga": ("Bo",), "ada": ("Bo",), "kim": (), "bo": (), "aud": ()}
    assert (await olga.new_keys()).way is Way.ROTATE
    await olga.rotate(tainted=True)
    # What comes next Bo cannot open; what is there is under the keys that it has.
    assert await olga.new_keys() == NewKeys(0, 0, None, ("Bo",))
    await olga.rotate(reencrypt=True)
    assert await olga.new_keys() == NewKeys(0, 0, None)
    await ada.session.sync()
    assert await offered(ada) == ()


async def test_whoever_was_removed_or_moved_to_new_keys_has_the_old_ones_still(
    cast: Company,
) -> None:
    await declined(cast)
    olga = await cast("olga")
    await olga.rotate(tainted=True)
    await cast.lab.home("bo").rotate_identity(await cast("bo"))
    await olga.session.sync()
    assert await offered(olga) == ("Bo",)
    await olga.revoke("Bo", Reason.LOST_BID)
    assert await offered(olga) == ("Bo",)


async def test_whoever_holds_all_of_it_by_its_role_is_told_of_no_more(cast: Company) -> None:
    olga = await cast("olga")
    await declined(cast)
    await olga.rotate(reencrypt=True)
    await olga.grant("Bo", classes=ALL)
    await olga.offer("Bo", yes=True)
    await (await cast("bo")).reject(Reason.OTHER)
    await olga.session.sync()
    # Names of people were disclosed too, and no grant gives those.
    assert await offered(olga) == ("Bo",)
    await olga.change_role("Bo", Role.ADMIN)
    assert await offered(olga) == ()


async def test_an_offer_that_is_over_was_in_vain_from_then_on(tmp_path: Path) -> None:
    clock = Clock()
    async with company(tmp_path, clock) as cast:
        olga = await cast("olga")
        await olga.offer("Bo", days=2, yes=True)
        clock.now += 3 * DAY
        await olga.session.sync()
        assert await offered(olga) == ("Bo",)
        await olga.heartbeat()
        told = await olga.new_keys()
        assert (told.way, told.offered) == (Way.ROTATE, ("Bo",))
        await olga.freeze(Reason.BREACH)
        told = await olga.new_keys()
        assert (told.way, told.offered) == (None, ("Bo",))


async def test_a_new_owner_is_told_to_take_over_and_of_nobody(cast: Company) -> None:
    await declined(cast)
    olga = await cast("olga")
    await olga.offer("Bo", yes=True)
    assert await offered(olga) == ("Bo",)  # the first offer was in vain, whatever comes of this one
    bo = await cast("bo")
    await bo.accept(yes=True)
    told = await bo.new_keys()
    assert (told.way, told.offered) == (Way.TAKEOVER, ())
    await bo.takeover()
    assert await bo.new_keys() == NewKeys(0, 0, None)
    assert await offered(olga) == ()


@pytest.mark.parametrize("error", [Unreachable("gone"), Refused("no", code="frozen")])
async def test_without_names_ids_are_told(
    cast: Company, error: SealroomError, monkeypatch: pytest.MonkeyPatch
) -> None:
    await declined(cast)

    async def nothing(_: object) -> Any:
        raise error

    olga = await cast("olga")
    monkeypatch.setattr(module, "read_people", nothing)
    assert (await olga.new_keys()).offered == ((await cast.id_of("bo")).hex()[:16],)


async def test_what_was_uploaded_after_an_offer_is_under_keys_that_its_buyer_has_not(
    cast: Company,
) -> None:
    await declined(cast)
    olga = await cast("olga")
    await olga.rotate(reencrypt=True)
    await olga.offer("Bo", yes=True)
    await (await cast("bo")).reject(Reason.OTHER)
    await olga.rotate(collection="customers", reencrypt=True)
    # Names of people lie under a key that was offered, as long as that is not sealed anew.
    assert await offered(olga) == ("Bo",)
    await olga.rotate(reencrypt=True)
    assert await offered(olga) == ()
    assert (await (await cast("bo")).read("customers")).column_names == ["name"]


# --- in words


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return made_world(tmp_path, monkeypatch)


LEFT = "What is stored opens with keys that Bo has since the vault was offered: "


def test_a_script_is_told_at_that_moment_and_by_which_command_to_end_it(
    world: World, capsys: Any
) -> None:
    world.waiting = NewKeys(3, 3, Way.ROTATE, ("Bo",))
    assert world.run("collection", "list") == 0
    assert capsys.readouterr().err == (
        "Bo was offered the vault, did not take it over, and still has its keys. 3 fields take no "
        "new data until their keys are replaced: run 'sealroom rotate --reencrypt', which also "
        "seals anew what is stored, or at least 'sealroom rotate --tainted'.\n"
    )
    world.waiting = NewKeys(3, 3, Way.ROTATE, ("Bo", HOSTILE))
    assert world.run("members") == 0
    assert f"Bo, {SHOWN} were offered the vault, did not take it over, and still have" in (
        capsys.readouterr().err
    )


def test_a_person_who_replaces_them_is_told_what_is_left(
    world: World, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch, "y\n")
    world.waiting = NewKeys(1, 1, Way.ROTATE, ("Bo",))
    assert world.run("members") == 0
    err = capsys.readouterr().err
    assert "still has its keys. 1 field takes no new data until its key is replaced. Replace" in err
    assert err.endswith(f"{LEFT}'sealroom rotate --reencrypt' seals it anew.\n")


@pytest.mark.parametrize(
    ("command", "left"), [("rotate", True), ("rotate --reencrypt", False), ("members", False)]
)
def test_whoever_rotates_is_told_what_is_left_unless_all_was_sealed_anew(
    command: str, left: bool, world: World, capsys: Any
) -> None:
    world.waiting = NewKeys(0, 0, None, ("Bo",))
    world.answers["rotate"] = ROTATED
    assert world.run(*command.split()) == 0
    assert (LEFT in capsys.readouterr().err) is left
    assert world.run("--json", *command.split()) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", ["vault status", "handover status"])
def test_status_says_so_as_long_as_it_is_so(command: str, world: World, capsys: Any) -> None:
    def told() -> str:
        return str(capsys.readouterr().out)

    world.answers["status"] = replace(STATUS, new_keys=NewKeys(0, 0, None, ("Bo", "Cy")))
    assert world.run(*command.split()) == 0
    assert "what is stored opens with keys that Bo, Cy have since the vault was offered" in told()
    world.answers["status"] = replace(STATUS, new_keys=NewKeys(0, 0, None))
    assert world.run(*command.split()) == 0
    assert "what is stored" not in told()
