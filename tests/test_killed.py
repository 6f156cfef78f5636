"""Client and server killed at any step of what changes keys; the same command then ends it.

`make crash` takes every step; the everyday run some of each, spread over the whole.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from client.vault import Vault
from protocol.acts import Reason
from protocol.blocks import PEOPLE_COLLECTION
from tests.company import CLASSES, TABLE, Company, company
from tests.in_process import URL
from tests.killing import Work, killed, opened, steps_of

SLICE = 6
"""How many steps of each work the everyday run kills at; with SEALROOM_EVERY_STEP set, all."""


# --- the works


async def rotates(cast: Company) -> None:
    await (await cast("ada")).rotate(collection="customers")


async def reencrypts(cast: Company) -> None:
    await (await cast("ada")).rotate(collection="customers", reencrypt=True)


async def revokes(cast: Company) -> None:
    await (await cast("ada")).revoke("Bo", Reason.BREACH, reencrypt=True)


async def renews_the_owner(cast: Company) -> None:
    await cast("olga")
    actor = cast.open["olga"]
    await actor.home.rotate_identity(actor.vault)


async def renews_an_admin(cast: Company) -> None:
    vault = await cast("ada")
    if vault.session.state.members[vault.identity.member_id].predecessor is None:
        await cast.open["ada"].home.rotate_identity(vault)


async def erases(cast: Company) -> None:
    await (await cast("kim")).erase("customers", [2])


async def uploads(cast: Company) -> None:
    vault = await cast("ada")
    if all(each.name != "more" or not each.records for each in await vault.collections()):
        await vault.upload(TABLE, collection="more", classes=CLASSES)


async def accepts(cast: Company) -> None:
    await (await cast("bo")).accept(yes=True)


async def takes_over(cast: Company) -> None:
    await (await cast("bo")).takeover()


async def rebuilds(cast: Company) -> None:
    vault, _ = await cast.lab.home("new machine").rebuild()
    await vault.close()


async def attests(cast: Company) -> None:
    home = cast.lab.home("bo")
    if home.keyring.vaults:
        async with home.vault() as vault:
            await home.attest_destroyed(vault)


# --- what they begin with


async def as_it_is(cast: Company) -> None:
    """Nothing."""


async def offered(cast: Company) -> None:
    await (await cast("olga")).offer("Bo", yes=True)


async def sold(cast: Company) -> None:
    await offered(cast)
    await accepts(cast)


async def lost(cast: Company) -> None:
    owner = await cast("olga")
    await owner.set_up_recovery(["Ada", "Kim"], 2)
    text = cast.newcomer("new machine").rescue_request(URL, owner.session.vault_id, None).text
    for name in ("ada", "kim"):
        await (await cast(name)).release_share(text, yes=True)


async def removed(cast: Company) -> None:
    await (await cast("olga")).revoke("Bo", Reason.LOST_BID)


# --- what they end with


async def kinds(vault: Vault) -> list[str]:
    return [entry.kind for entry in (await vault.log(verify=True)).entries]


async def whole(vault: Vault, expected: pa.Table = TABLE) -> None:
    """Check that everything reads as it was, and that no key is waiting to be replaced."""
    assert (await vault.read("customers")).equals(expected)


async def lies_under_the_newest_alone(vault: Vault) -> None:
    state = vault.session.state
    for where in state.collections.values():
        if where.id == PEOPLE_COLLECTION:
            continue
        for number in where.fields:
            newest = state.newest(where.id, number)
            assert newest is not None
            under = {ref.epoch for _, ref in where.blocks(number)}
            assert under <= {newest.definition.address.epoch}
            live = [each for each in state.epochs[where.id, number] if not each.retired]
            assert live == [newest]


async def everybody_reads(cast: Company) -> None:
    for name in ("olga", "ada"):
        await whole(await cast(name))
    assert (await (await cast("bo")).read("customers")).column_names == ["name"]


async def all_is_under_new_keys(cast: Company) -> None:
    await everybody_reads(cast)
    await lies_under_the_newest_alone(await cast("olga"))


async def bo_is_out(cast: Company) -> None:
    owner = await cast("olga")
    await whole(owner)
    assert (await kinds(owner)).count("revoke") == 2  # Rex went before
    fields = owner.session.state.collections
    (where,) = (each for each in fields.values() if each.classes)
    names = {ref.epoch for _, ref in where.blocks(0)}
    newest = owner.session.state.newest(where.id, 0)
    assert newest is not None
    assert names == {newest.definition.address.epoch}
    assert not newest.tainted


async def has_one_identity(cast: Company, name: str) -> None:
    home = cast.lab.home(name)
    (stored,) = home.keyring.identities
    assert home.keyring.vaults[0].identity == stored.name
    assert home.keyring.vaults[0].successors == ()
    async with home.vault() as vault:
        await whole(vault)
        me = vault.session.state.members[vault.identity.member_id]
        assert me.live
        assert me.predecessor is not None


async def owner_has_new_keys(cast: Company) -> None:
    await has_one_identity(cast, "olga")
    await everybody_reads(cast)
    assert (await (await cast("olga")).status()).tainted_fields == 0


async def admin_has_new_keys(cast: Company) -> None:
    await has_one_identity(cast, "ada")


async def one_is_gone(cast: Company) -> None:
    for name in ("olga", "ada"):
        await whole(await cast(name), TABLE.take([0, 2]))


async def both_are_there(cast: Company) -> None:
    await everybody_reads(cast)
    assert (await (await cast("olga")).read("more")).equals(TABLE)
    assert len(await (await cast("olga")).collections()) == 2


async def bo_owns(cast: Company) -> None:
    vault = await cast("bo")
    await whole(vault)
    assert (await kinds(vault)).count("accept") == 1
    assert (await vault.status()).role == "owner"


async def bo_owns_alone(cast: Company) -> None:
    await bo_owns(cast)
    await lies_under_the_newest_alone(await cast("bo"))


async def is_owner_again(cast: Company) -> None:
    await has_one_identity(cast, "new machine")
    async with cast.lab.home("new machine").vault() as vault:
        assert (await kinds(vault)).count("rotate-identity") == 1
        await vault.rotate(tainted=True)
        await whole(vault)


async def keys_are_gone(cast: Company) -> None:
    home = cast.lab.home("bo")
    assert (home.keyring.vaults, home.keyring.identities) == ((), ())
    assert (await kinds(await cast("olga"))).count("attest") == 1
    assert len(list((home.directory / "attested").glob("*.json"))) == 1


@dataclass(frozen=True)
class Case:
    begins: Work
    work: Work
    ends: Work


CASES = {
    "rotate": Case(as_it_is, rotates, everybody_reads),
    "re-encrypt": Case(as_it_is, reencrypts, all_is_under_new_keys),
    "revoke": Case(as_it_is, revokes, bo_is_out),
    "rotate the owner": Case(as_it_is, renews_the_owner, owner_has_new_keys),
    "rotate an admin": Case(as_it_is, renews_an_admin, admin_has_new_keys),
    "erase": Case(as_it_is, erases, one_is_gone),
    "upload": Case(as_it_is, uploads, both_are_there),
    "accept": Case(offered, accepts, bo_owns),
    "take over": Case(sold, takes_over, bo_owns_alone),
    "rebuild": Case(lost, rebuilds, is_owner_again),
    "attest": Case(removed, attests, keys_are_gone),
}


def steps_to_kill_at(total: int) -> Iterator[int]:
    """Yield every step, or as many as the everyday run has time for, the first and last too."""
    count = total if os.environ.get("SEALROOM_EVERY_STEP") else min(SLICE, total)
    for i in range(count):
        yield 1 + i * (total - 1) // max(1, count - 1)


@pytest.mark.threat("R2")
@pytest.mark.parametrize("name", CASES)
def test_what_is_killed_anywhere_is_ended_by_the_same_command(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    begun = asyncio.run(prepared(tmp_path, case.begins))
    total = steps_of(begun, tmp_path / "whole", case.work)
    assert total > SLICE
    asyncio.run(ended(tmp_path / "whole", case))
    for at in steps_to_kill_at(total):
        directory = tmp_path / str(at)
        shutil.copytree(begun, directory)
        killed(directory, case.work, at)
        try:
            asyncio.run(ended(directory, case))
        except BaseException as error:
            error.add_note(f"killed before step {at} of {total}")
            raise
        shutil.rmtree(directory)


async def prepared(directory: Path, begins: Work) -> Path:
    async with company(directory) as cast:
        await begins(cast)
        return cast.lab.directory


async def ended(directory: Path, case: Case) -> None:
    """Say the same command again, and check what it ends with."""
    async with opened(directory) as cast:
        await case.work(cast)
        await case.ends(cast)
