"""An admin fills the people catalog with names of nobody; somebody takes them away again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from client.catalogs import person_row, seal_rows
from client.errors import InputError, Refused
from client.people import PEOPLE, write_person
from client.session import Session, saying
from client.vault import Vault
from protocol import acts
from protocol.acts import Reason, Role
from protocol.blocks import PEOPLE_COLLECTION
from protocol.encoding import Value
from tests.company import Company, company
from tests.test_rogue_admins import committed, rubbish
from vault import names


async def junk(cast: Company, batches: int, more: tuple[dict[str, Value], ...] = ()) -> None:
    """Have Kim, who has no keys of data, write names of parties that are not there."""
    session = (await cast("kim")).session
    for _ in range(batches):
        await session.ensure_writable([PEOPLE])
        rows = [person_row(os.urandom(32), "x" * 150) for _ in range(300)]
        await committed(session, seal_rows(session, session.writable(*PEOPLE), [*rows, *more]))


async def left(cast: Company, who: str) -> dict[str, int]:
    """Return how many rows of the people catalog are left, by author."""
    session = (await cast(who)).session
    left: dict[str, int] = {}
    for batch in session.state.collections[PEOPLE_COLLECTION].batches:
        author = batch.author.hex()
        left[author] = left.get(author, 0) + batch.manifest.records - len(batch.erased)
    return left


def kept(vault: Vault) -> int:
    """Return how many bytes of blocks of catalogs a home has."""
    (size,) = vault.session.store._db.execute("SELECT SUM(LENGTH(block)) FROM blocks").fetchone()
    return int(size)


@pytest.mark.threat("K14")
async def test_names_of_nobody_go_and_every_name_that_counts_stays(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, kim = await cast("olga"), await cast("kim")
        invited = await kim.invite(Role.BIDDER, name="Cy")
        me = kim.identity.member_id
        # Of what counts, saying it again and again is idle too.
        mine = person_row(me, "Kim"), person_row(bytes.fromhex(invited.invite_id), "Cy")
        await junk(cast, 2, mine * 3)
        await committed(kim.session, rubbish(kim.session))
        await write_person(kim.session, olga.identity.member_id, "Mallory", title="Mine")
        before = {(each.member_id, each.name) for each in await olga.members()}
        others = {who: n for who, n in (await left(cast, "olga")).items() if who != me.hex()}

        await olga.revoke("Kim", Reason.BREACH)
        noted = (await left(cast, "olga")).items()
        done = await olga.erase_names("Kim", reason=Reason.BREACH)
        assert done.records > 600
        assert done.acts
        after = await left(cast, "olga")
        assert after[me.hex()] == 2
        assert {who: n for who, n in noted if who != me.hex()} == {
            who: n for who, n in after.items() if who != me.hex()
        }
        assert all(after[who] >= n for who, n in others.items())
        names = {(each.member_id, each.name) for each in await olga.members()}
        # Only the invites that went with the member are not listed any more.
        assert names <= before
        assert {"Kim", "Ada", "Bo"} <= {name for _, name in names}
        again = await olga.erase_names("Kim", reason=Reason.BREACH)
        assert (again.acts, again.records) == ((), 0)
        assert {"Kim", "Ada", "Bo"} <= {each.name for each in await (await cast("ada")).members()}


@pytest.mark.threat("K14")
async def test_what_others_named_already_is_no_name_to_keep(tmp_path: Path) -> None:
    """Kim repeats what others said, each time with ballast: from her it counts for nothing."""
    async with company(tmp_path) as cast:
        olga, kim = await cast("olga"), await cast("kim")
        # Nor does what she called her own invite, once the owner calls it so too.
        invited = await kim.invite(Role.BIDDER, name="Dee")
        await olga.session.sync()
        await write_person(olga.session, bytes.fromhex(invited.invite_id), "Dee")
        kim = await cast("kim")
        me = kim.identity.member_id
        named = {each.member_id: each.name or "" for each in await kim.members()}
        title = await kim.title()
        rows = [
            person_row(bytes.fromhex(party), name, title=title, note="n") | {"z": bytes(20_000)}
            for party, name in named.items()
            if party not in (me.hex(), invited.invite_id)
        ]
        session = kim.session
        await session.ensure_writable([PEOPLE])
        await committed(session, seal_rows(session, session.writable(*PEOPLE), rows))
        before = await olga.members()
        assert kept(olga) > 100_000
        done = await olga.erase_names("Kim", reason=Reason.BREACH)
        assert done.records == len(rows) + 1
        assert await olga.members() == before
        assert await olga.title() == title
        assert kept(olga) < 50_000


async def test_of_an_owner_the_title_that_counts_stays(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, me = await cast("olga"), await cast.id_of("olga")
        for title in ("Project Hen", "Project Owl", "Project Owl"):
            await write_person(olga.session, me, "Olga", title=title)
        before = await olga.members()
        assert (await olga.erase_names("Olga")).records >= 3
        assert await olga.title() == await (await cast("ada")).title() == "Project Owl"
        assert await olga.members() == before


@pytest.mark.threat("K14")
async def test_what_was_erased_is_kept_and_fetched_by_nobody(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, ada = await cast("olga"), await cast("ada")
        await junk(cast, 2)
        await olga.members()
        assert kept(olga) > 100_000
        await olga.erase_names("Kim")
        await ada.members()
        assert max(kept(olga), kept(ada)) < 50_000


async def test_who_may_erase_may_erase_names_and_nobody_else(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        await junk(cast, 1)
        bo, kim = await cast("bo"), await cast("kim")
        with pytest.raises(Refused):
            await bo.erase_names("Kim")
        with pytest.raises(InputError, match="names nobody"):
            await kim.erase_names("Nobody")
        assert (await kim.erase_names("Kim")).records >= 300


@pytest.mark.threat("K14")
async def test_a_server_keeps_so_many_names_by_one_member_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with company(tmp_path) as cast:
        kim, olga = await cast("kim"), await cast("olga")
        await junk(cast, 1)
        (size,) = {
            sum(ref.length for ref in batch.manifest.blocks)
            for batch in kim.session.state.collections[PEOPLE_COLLECTION].batches
            if batch.manifest.records == 300
        }
        monkeypatch.setattr(names, "NAMES_BYTES", 2 * size + 10_000)
        await junk(cast, 1)
        leaves = kim.session.state.size
        with pytest.raises(Refused, match="names of people by one member have") as caught:
            await junk(cast, 1)
        assert caught.value.refusal == "limit_exceeded"
        assert "--names-by" in str(caught.value.hint)
        # In parts it is no more either, and under new keys Kim is who it was.
        await cast.open["kim"].home.rotate_identity(kim)
        await olga.session.sync()
        await olga.rotate(tainted=True)
        await olga.confirm(kim.identity.member_id.hex(), yes=True)
        await kim.session.sync()
        with pytest.raises(Refused, match="names of people by one member have"):
            await in_two_parts(kim.session)
        await kim.session.sync()
        assert kim.session.state.size > leaves
        # Others are not in its way, and what goes makes room.
        await write_person(olga.session, olga.identity.member_id, "Olga")
        await olga.erase_names("Kim")
        await junk(cast, 1)


async def in_two_parts(session: Session) -> None:
    """Commit names of which the first part is not shown yet."""
    upload = os.urandom(16)
    await session.ensure_writable([PEOPLE])
    for part in range(2):
        rows = [person_row(os.urandom(32), "x" * 150) for _ in range(40)]
        sealed = seal_rows(session, session.writable(*PEOPLE), rows)
        batch = sealed.manifest.batch_id
        await session.transport.stage(session.vault_id, upload, batch, sealed.body())
        await session.act(
            saying(acts.Commit(upload, PEOPLE_COLLECTION, part, part == 1, (sealed.manifest,)))
        )
