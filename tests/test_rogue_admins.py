"""Admins who turn on the others: what they may write must neither close nor misdirect a vault."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from client.catalogs import name_of, person_row, read_people
from client.columns import Cells
from client.crypto.cells import ColumnToSeal, SealedBatch, seal_batch
from client.crypto.wraps import OpenedKey
from client.errors import InputError, Refused
from client.people import PEOPLE, find_member, write_person
from client.session import Session, saying
from protocol import acts
from protocol.acts import Reason, Role
from protocol.blocks import PEOPLE_COLLECTION, PEOPLE_FIELD, Address, FieldClass
from protocol.errors import (
    CommitmentMismatch,
    IntegrityError,
    PinMismatch,
    SealroomError,
    WeakKey,
)
from tests.company import company


def rubbish(session: Session) -> SealedBatch:
    """Seal a row of the people catalog under a key that nobody has."""
    address = session.writable(*PEOPLE)
    cells = Cells.from_list([b"rubbish"], string_like=True)
    column = ColumnToSeal(PEOPLE_FIELD, address.epoch, FieldClass.PEOPLE, os.urandom(32), cells)
    return seal_batch([column])


async def committed(session: Session, sealed: SealedBatch) -> None:
    """Stage and commit one batch of the people catalog."""
    upload = os.urandom(16)
    await session.transport.stage(session.vault_id, upload, sealed.manifest.batch_id, sealed.body())
    payload = acts.Commit(upload, PEOPLE_COLLECTION, 0, True, (sealed.manifest,))
    await session.act(saying(payload))


@pytest.mark.threat("K14")
async def test_rubbish_among_the_names_closes_nothing(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, kim, bo = await cast("olga"), await cast("kim"), await cast("bo")
        await committed(kim.session, rubbish(kim.session))

        names = {each.name for each in await olga.members()}
        assert {"Ada", "Kim", "Bo"} <= names
        await olga.revoke("Kim", Reason.BREACH)
        await olga.offer("Bo", yes=True)
        taken = await bo.accept(yes=True)
        assert taken.records == 3


@pytest.mark.threat("D9")
@pytest.mark.threat("K14")
async def test_an_admin_renames_nobody_whom_another_invited(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, kim = await cast("olga"), await cast("kim")
        bo = (await find_member(olga.session, "Bo")).id
        await write_person(kim.session, bo, "Bo (left)")
        await write_person(kim.session, kim.identity.member_id, "Bo")
        await write_person(kim.session, olga.identity.member_id, "Nobody")

        await olga.session.sync()
        called = {each.words for each in (await read_people(olga.session)).names.values()}
        assert "Bo (left)" not in called
        assert "Nobody" not in called
        # Nor herself, whom the owner named: hers counts last.
        assert (await find_member(olga.session, "Bo")).id == bo
        assert (await find_member(olga.session, bo.hex())).id == bo


@pytest.mark.threat("K1")
async def test_a_name_by_the_owner_outranks_one_by_the_inviter_and_by_the_party(
    tmp_path: Path,
) -> None:
    async with company(tmp_path) as cast:
        olga, ada = await cast("olga"), await cast("ada")
        invited = await ada.invite(Role.BIDDER, name="Cy")
        cy, _ = await cast.newcomer("cy").join(invited.link)
        async with cy:
            invite, party = bytes.fromhex(invited.invite_id), cy.identity.member_id

            async def called() -> str | None:
                await olga.session.sync()
                return name_of(olga.session.state, await read_people(olga.session), party)

            await write_person(ada.session, party, "Cyril")
            assert await called() == "Cyril"
            await olga.session.sync()
            await write_person(olga.session, invite, "Cyrus")  # for whichever of its ids
            assert await called() == "Cyrus"
            await ada.session.sync()
            for each in (invite, party):
                await write_person(ada.session, each, "Cynthia", note="n")
            assert await called() == "Cyrus"
            # Made an admin, it names itself, and is called as before.
            await olga.confirm(party.hex(), yes=True)
            await olga.change_role(party.hex(), Role.ADMIN)
            await cy.session.sync()
            await write_person(cy.session, party, "Bo")
            assert await called() == "Cyrus"
            # Under new keys too, whoever names those.
            await cast.newcomer("cy").rotate_identity(cy)
            party = cy.identity.member_id
            await ada.session.sync()
            await write_person(ada.session, party, "Cynthia")
            assert await called() == "Cyrus"
            await olga.session.sync()
            await write_person(olga.session, party, "Cyra")
            assert await called() == "Cyra"


async def test_only_an_owner_titles_the_vault(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga, ada = await cast("olga"), await cast("ada")
        title = await olga.title()
        await write_person(ada.session, ada.identity.member_id, "Ada", title="Another title")
        await olga.session.sync()
        assert await olga.title() == title


@pytest.mark.threat("K1")
async def test_an_owner_offers_to_nobody_whose_words_it_did_not_compare(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        # As after a home was lost, or where an admin confirmed the bidder.
        olga.session.store._db.execute("DELETE FROM compared")
        with pytest.raises(Refused, match="never compared") as refused:
            await olga.offer("Bo")
        assert refused.value.refusal == "not_compared"
        with pytest.raises(PinMismatch):
            await olga.offer("Bo", words=" ".join(["abandon"] * 12))
        assert olga.session.state.offer is None
        await olga.offer("Bo", words=await olga.words("Bo"))
        assert olga.session.state.offer is not None


async def test_a_revocation_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        ada = await cast("ada")
        bo = await find_member(ada.session, "Bo")
        await ada.session.act(saying(acts.Revoke(bo.id, Reason.LOST_BID)))
        tainted = [known[-1] for known in ada.session.state.epochs.values() if known[-1].tainted]
        assert tainted

        done = await ada.revoke("Bo", Reason.LOST_BID)

        assert done.could_read
        assert done.index == ada.session.state.members[bo.id].removed_at
        assert not any(known[-1].tainted for known in ada.session.state.epochs.values())


def test_a_row_names_its_party() -> None:
    assert person_row(b"p" * 32, "Bo", title="T", note="n") == {
        "party": b"p" * 32,
        "name": "Bo",
        "title": "T",
        "note": "n",
    }


@pytest.mark.threat("K14")
@pytest.mark.parametrize("error", [IntegrityError, CommitmentMismatch, WeakKey])
async def test_a_false_key_of_the_names_closes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[SealroomError]
) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        newest = olga.session.writable(*PEOPLE)
        honest = olga.session.key

        def key(address: Address) -> OpenedKey:
            if address == newest:
                raise error("not the published key")
            return honest(address)

        monkeypatch.setattr(olga.session, "key", key)
        assert len(await olga.members()) > 5
        assert len((await read_people(olga.session)).names) == 0
        monkeypatch.undo()
        names = (await read_people(olga.session)).names.values()
        assert "Bo" in {each.words for each in names}


async def test_an_invite_of_a_members_name_stands_in_nobodys_way(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        invited = await olga.invite(Role.BIDDER, name="Bo")
        assert (await find_member(olga.session, "Bo")).id != bytes.fromhex(invited.invite_id)
        with pytest.raises(InputError, match="several"):
            await olga.withdraw_invite("Bo")
        await olga.withdraw_invite(invited.invite_id)
        with pytest.raises(Refused, match="may not do this") as refused:
            await (await cast("ada")).offer("Bo")
        assert refused.value.hint == "You are an admin here: this is for the owner."
