"""Names are others' to change: what was compared under one is not done under another (SPEC 4.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from client.errors import InputError, Refused
from client.people import find_member, write_person
from client.remembered import Remembered
from client.vault import Vault
from protocol.acts import Role
from protocol.blocks import FieldClass
from tests.company import TABLE, Company, company, members
from tests.deals import a_vault
from tests.in_process import Lab

ADMINS = (Role.ADMIN, Role.KEYLESS_ADMIN)


@dataclass
class Cast:
    """An owner, its admin Ada, and bidders whom Ada invited and the owner confirmed by words."""

    lab: Lab
    owner: Vault
    ada: Vault
    others: dict[str, Vault]

    def id_of(self, name: str) -> bytes:
        return self.others[name].identity.member_id

    async def called(self, **names: str) -> None:
        """Have Ada call those whom she invited by other names."""
        await self.ada.session.sync()
        for who, name in names.items():
            await write_person(self.ada.session, self.id_of(who), name)
        await self.owner.session.sync()


@asynccontextmanager
async def invited_by_ada(directory: Path, *names: str) -> AsyncIterator[Cast]:
    async with a_vault(directory) as (lab, owner):
        await owner.upload(TABLE, collection="customers", default=FieldClass.CORE)
        link = (await owner.invite(Role.ADMIN, name="Ada")).link
        ada, joined = await lab.home("ada").join(link)
        await owner.confirm("Ada", words=joined.words)
        others: dict[str, Vault] = {}
        try:
            for name in names:
                await ada.session.sync()
                invited = await ada.invite(Role.BIDDER, name=name)
                others[name], _ = await lab.home(name).join(invited.link)
                me = owner.identity.member_id.hex()
                await owner.confirm(name, words=await others[name].words(me))
            yield Cast(lab, owner, ada, others)
        finally:
            for each in (ada, *others.values()):
                await each.close()


@pytest.mark.threat("K1")
async def test_an_inviter_that_exchanges_names_gets_nothing_offered(tmp_path: Path) -> None:
    """The owner compared words with both, honestly; who is called Bo afterwards is Ada's to say."""
    async with invited_by_ada(tmp_path, "Bo", "Eve") as cast:
        await cast.called(Bo="Eve", Eve="Bo")
        for name in ("Bo", "Eve", " bo\u00a0"):
            with pytest.raises(InputError, match="several members here: one was called so when"):
                await cast.owner.offer(name)
        for who, was, now in (("Eve", "Eve", "Bo"), ("Bo", "Bo", "Eve")):
            told = f"were compared as '{was}', and it is called '{now}' now"
            with pytest.raises(Refused, match=told) as caught:
                await cast.owner.offer(cast.id_of(who).hex())
            assert caught.value.refusal == "not_compared"
        assert (await cast.owner.status()).offer is None
        listed = await members(cast.owner)
        assert (listed["Bo"].compared, listed["Bo"].compared_as) == (False, "Eve")
        # Whoever hears the words again, of the one whose id it is, knows the name too.
        bo = cast.id_of("Bo").hex()
        await cast.owner.offer(bo, words=await cast.owner.words(bo))
        opened = (await cast.owner.status()).offer
        assert opened is not None
        assert opened.buyer == bo


@pytest.mark.threat("K16")
async def test_shares_and_roles_go_to_nobody_who_took_a_name(tmp_path: Path) -> None:
    async with invited_by_ada(tmp_path, "Bo", "Cy", "Eve", "Fay") as cast:
        await cast.called(Bo="Zed", Cy="Zoe", Eve="Bo", Fay="Cy")
        for name in ("Bo", "Cy"):
            with pytest.raises(InputError, match="several"):
                await cast.owner.set_up_recovery([name, "Ada"], 2)
            with pytest.raises(InputError, match="several"):
                await cast.owner.custodian_words([name])
            with pytest.raises(InputError, match="several"):
                await cast.owner.grant(name, classes=[FieldClass.CORE])
            with pytest.raises(InputError, match="several"):
                await cast.owner.revoke(name)
            with pytest.raises(InputError, match="several"):
                await cast.owner.change_policy(head_signers=[name])
            for role in ADMINS:
                with pytest.raises(InputError, match="several"):
                    await cast.owner.change_role(name, role)
        eve, ada = cast.id_of("Eve").hex(), cast.ada.identity.member_id.hex()
        words = await cast.owner.words(eve)
        for role in ADMINS:
            with pytest.raises(Refused, match="compared as 'Eve', and it is called 'Bo'") as caught:
                await cast.owner.change_role(eve, role)
            assert words in str(caught.value.hint)
        with pytest.raises(Refused, match=f"of {eve} were compared as 'Eve'") as caught:
            await cast.owner.set_up_recovery([eve, ada], 2)
        assert caught.value.refusal == "not_compared"
        assert await cast.owner.custodian_words([eve, ada]) == {eve: words}
        assert cast.owner.session.state.recovery is None
        # Less than an admin needs no words, nor does a removal: an id is the one that it is.
        await cast.owner.change_role(eve, Role.AUDITOR)
        await cast.owner.change_role(eve, Role.ADMIN, words=words)
        await cast.owner.revoke(cast.id_of("Fay").hex())


@pytest.mark.threat("K1")
async def test_a_name_finds_whom_it_was_compared_with_and_refuses_whoever_took_it(
    tmp_path: Path,
) -> None:
    async with invited_by_ada(tmp_path, "Bo", "Eve") as cast:
        bo, eve = cast.id_of("Bo"), cast.id_of("Eve")
        await cast.called(Bo="Somebody")
        assert (await find_member(cast.owner.session, "BO")).id == bo
        with pytest.raises(InputError, match="called 'Somebody' now was called 'Bo' when"):
            await find_member(cast.owner.session, "Somebody")
        with pytest.raises(Refused, match="compared as 'Bo', and it is called 'Somebody' now"):
            await cast.owner.offer("Bo")
        await cast.called(Eve="Bo")
        with pytest.raises(InputError, match="several"):
            await find_member(cast.owner.session, "Bo")
        # Removed, neither has its name any more; whoever is invited anew by it can have it.
        await cast.owner.revoke(bo.hex())
        with pytest.raises(InputError, match="called 'Bo' now was called 'Eve' when"):
            await find_member(cast.owner.session, "Bo")
        await cast.owner.revoke(eve.hex())
        invited = await cast.owner.invite(Role.BIDDER, name="Bo")
        again, joined = await cast.lab.home("again").join(invited.link)
        async with again:
            await cast.owner.session.sync()
            assert (await find_member(cast.owner.session, "Bo")).id == again.identity.member_id
            with pytest.raises(Refused, match="never compared"):
                await cast.owner.confirm("Bo")
            await cast.owner.confirm("Bo", words=joined.words)


async def test_whoever_has_new_keys_is_found_and_compared_anew(tmp_path: Path) -> None:
    async with invited_by_ada(tmp_path, "Bo") as cast:
        await cast.lab.home("Bo").rotate_identity(cast.others["Bo"])
        await cast.owner.session.sync()
        new = cast.id_of("Bo")
        assert (await find_member(cast.owner.session, "Bo")).id == new
        with pytest.raises(Refused, match="never compared"):
            await cast.owner.confirm("Bo")
        await cast.called(Bo="Bob")
        assert (await find_member(cast.owner.session, "Bo")).id == new
        with pytest.raises(InputError, match="was called 'Bo' when you"):
            await find_member(cast.owner.session, "Bob")
        # Compared under the new name, the old one is nobody's.
        await cast.owner.confirm("Bo", yes=True)
        assert (await find_member(cast.owner.session, "Bob")).id == new
        with pytest.raises(InputError, match="nobody"):
            await find_member(cast.owner.session, "Bo")


async def test_an_owner_s_new_keys_remember_what_the_old_ones_did(tmp_path: Path) -> None:
    async with invited_by_ada(tmp_path, "Bo") as cast:
        owner, old = cast.owner, cast.owner.identity
        await cast.lab.home("seller").rotate_identity(owner)
        assert owner.identity.member_id != old.member_id
        names = Remembered(owner.session.store, owner.identity).names()
        assert names[cast.id_of("Bo")] == "Bo"
        await owner.offer("Bo")


@pytest.mark.threat("K1")
async def test_what_an_older_client_compared_is_asked_for_once_more(tmp_path: Path) -> None:
    """It kept no name: the one that is seen now may be another's already."""
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        as_older(cast)
        assert (await find_member(olga.session, "Bo")).id == await cast.id_of("bo")
        listed = await members(olga)
        assert (listed["Bo"].compared, listed["Bo"].compared_as) == (False, None)
        with pytest.raises(Refused, match="when its name was not kept, and it is called 'Bo' now"):
            await olga.offer("Bo")
        await olga.offer("Bo", yes=True)
        assert (await members(olga))["Bo"].compared


async def test_where_no_names_are_seen_ids_are_compared(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        bo, olga = await cast("bo"), await cast.id_of("olga")
        as_older(cast)
        listed = {each.member_id: each for each in await bo.members()}
        assert listed[olga.hex()].compared == (olga in bo.session.store.compared())


@pytest.mark.threat("L5")
async def test_names_that_were_compared_lie_in_no_file_in_clear(tmp_path: Path) -> None:
    async with company(tmp_path) as cast:
        olga = await cast("olga")
        bo, store = await cast.id_of("bo"), olga.session.store
        own = Remembered(store, olga.identity)
        assert own.names()[bo] == "Bo"
        sealed = store.sealed_names()
        assert len({len(each) for each in sealed.values()}) == 1
        assert not any(b"Bo" in each for each in sealed.values())
        # Another's, somebody else's entry, or rubbish is no name.
        assert Remembered(store, (await cast("ada")).identity).names() == {}
        ada = await cast.id_of("ada")
        store.keep_names({bo: sealed[ada], ada: b""})
        assert not {bo, ada} & own.names().keys()


def as_older(cast: Company) -> None:
    """Take from each home that is open what an older client did not keep."""
    for actor in cast.open.values():
        actor.session.store._db.execute("DELETE FROM compared_as")


async def test_new_names_have_no_space_at_their_ends(tmp_path: Path) -> None:
    async with a_vault(tmp_path, title=" Lark\u3000") as (_, owner):
        assert await owner.title() == "Lark"
        invited = await owner.invite(Role.BIDDER, name="\u00a0Bo ")
        assert invited.name == "Bo"
        assert {"Sue", "Bo"} == set(await members(owner))
        with pytest.raises(InputError, match="invite needs a name"):
            await owner.invite(Role.BIDDER, name="\u3000")
        core = FieldClass.CORE
        with pytest.raises(InputError, match="no new collection can be called 'x\\\\xa0'"):
            await owner.upload(TABLE, collection="x\u00a0", default=core)
        assert (await owner.status()).collections == 0
        file = tmp_path / "contract.pdf"
        file.write_bytes(b"signed")
        for name in ("contract.pdf\u00a0", " contract.pdf"):
            with pytest.raises(InputError, match="a document cannot be called"):
                await owner.attach(file, field_class=core, name=name)
        await owner.attach(file, field_class=core, name="a contract.pdf")
        file.write_bytes(b"forged")
        with pytest.raises(Refused, match="there is another document"):
            await owner.attach(file, field_class=core, name="a\u00a0contract.pdf")
