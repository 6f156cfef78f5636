"""Admins who give collections and fields other names, and wait for others to go by those."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from client.catalogs import read_names, read_people, read_rows
from client.columns import Cells
from client.crypto.cells import ColumnToSeal, seal_batch
from client.erasing import erase
from client.errors import InputError, Refused
from client.people import PEOPLE
from client.results.progress import no_progress
from client.session import saying
from client.vault import Vault
from protocol.acts import DefineCollection, MovedBlock, Reason, Reencrypt, Role
from protocol.blocks import FieldClass, catalog_field
from protocol.encoding import encode
from protocol.errors import IntegrityError
from tests.deals import a_deal, a_vault, acts_since, commit_names, joined
from tests.documents import a_file
from tests.in_process import Lab

pytestmark = pytest.mark.threat("K14")

GENERAL, SENSITIVE, CORE = FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE
OF_CORE = catalog_field(CORE)
CUSTOMERS = pa.table({"name": ["Mo"], "national_id": ["SECRET-1"], "loyalty": ["gold"]})
MORE = pa.table({"name": ["Zoe"], "national_id": ["SECRET-2"], "loyalty": ["blue"]})
PRICES = pa.table({"item": ["x"], "note": ["dull"]})
CLASSES = {"name": GENERAL, "national_id": CORE, "loyalty": CORE}


def id_of(vault: Vault, position: int = 0) -> bytes:
    """Return the id of the collection that was defined first, second, ..."""
    return [each.id for each in vault.session.state.collections.values() if each.classes][position]


async def names_of(vault: Vault) -> list[tuple[str | None, list[str | None]]]:
    return [(each.name, [f.name for f in each.fields]) for each in await vault.collections()]


NAMES = [("customers", CUSTOMERS.column_names), ("prices", PRICES.column_names)]


FIELDS = [[i, each, "string"] for i, each in enumerate(CUSTOMERS.column_names)]
CALLED: dict[str, Any] = {"collection": "customers", "fields": FIELDS}


async def defined(vault: Vault) -> tuple[bytes, int]:
    """Define a collection of three general fields; return its id, and the catalog to name it in."""
    where, number = secrets.token_bytes(16), catalog_field(GENERAL)
    await vault.session.act(saying(DefineCollection(where, (GENERAL,) * 3)))
    await vault.session.ensure_writable([(where, number)])
    return where, number


async def sold(owner: Vault) -> None:
    await owner.upload(CUSTOMERS, collection="customers", classes=CLASSES)
    await owner.upload(PRICES, collection="prices", classes={"item": GENERAL, "note": CORE})


# --- names that are not the admin's to give


async def test_collections_that_an_admin_exchanges_keep_their_names(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (lab, owner):
        await sold(owner)
        async with (
            joined(lab, owner, "Ada", Role.ADMIN, classes=[GENERAL]) as ada,
            joined(lab, owner, "Eve") as eve,
        ):
            await ada.session.sync_as_member()
            await commit_names(ada, id_of(ada, 0), OF_CORE, {"collection": "prices"})
            await commit_names(ada, id_of(ada, 1), OF_CORE, {"collection": "customers"})

            for reader in (owner, ada):
                assert await names_of(reader) == NAMES
            await owner.grant("Eve", classes=[CORE], collection="prices")
            await eve.session.sync_as_member()
            assert (await eve.read("prices")).to_pylist() == [{"note": "dull"}]
            with pytest.raises(InputError, match="no collection 'customers'"):
                await eve.read("customers")


async def test_fields_that_an_admin_exchanges_keep_their_names(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (lab, owner):
        await sold(owner)
        async with (
            joined(lab, owner, "Ada", Role.ADMIN, classes=[GENERAL]) as ada,
            joined(lab, owner, "Eve") as eve,
        ):
            await ada.session.sync_as_member()
            exchanged = {"fields": [[1, "loyalty", "string"], [2, "national_id", "string"]]}
            await commit_names(ada, id_of(ada), OF_CORE, exchanged)
            await owner.session.sync()
            await owner.grant("Eve", fields=["loyalty"], collection="customers")
            await eve.session.sync_as_member()
            assert (await eve.read("customers")).to_pylist() == [{"loyalty": "gold"}]


async def test_nothing_else_that_an_admin_says_of_a_collection_counts(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (lab, owner):
        await sold(owner)
        async with joined(lab, owner, "Ada", Role.ADMIN, classes=[GENERAL]) as ada:
            await ada.session.sync_as_member()
            before = await read_names(owner.session, id_of(owner))
            said = {"title": "T", "file": "f", "format": {"kind": "documents"}}
            await commit_names(ada, id_of(ada), OF_CORE, said)
            await owner.session.sync()
            assert await read_names(owner.session, id_of(owner)) == before
            # As a table it is read and erased from, as before, and not as documents.
            assert (await owner.erase("customers", [1])).records == 1


async def test_whoever_defined_a_collection_names_it_once(tmp_path: Path) -> None:
    """Its grants may have ended since, and others may go by the names that it gave."""
    async with (
        a_deal(tmp_path) as deal,
        joined(deal.lab, deal.seller, "Ada", Role.ADMIN, classes=[GENERAL, CORE]) as ada,
    ):
        owner = deal.seller
        await ada.upload(CUSTOMERS, collection="customers", classes=CLASSES)
        await owner.session.sync()
        await owner.withdraw_grant("Ada", classes=[CORE])
        await commit_names(
            ada,
            id_of(ada),
            OF_CORE,
            {"fields": [[1, "loyalty", "string"], [2, "national_id", "string"]]},
            {"collection": "prices"},
        )
        assert await names_of(owner) == NAMES[:1]
        # The owner may at any time, and what Ada said stays where she goes.
        await owner.rotate()
        await commit_names(owner, id_of(owner), OF_CORE, {"collection": "clients"})
        assert [name for name, _ in await names_of(owner)] == ["clients"]
        await owner.revoke("Ada", Reason.LEFT)
        assert await names_of(owner) == [("clients", CUSTOMERS.column_names)]


async def test_nobody_names_a_collection_before_whoever_defined_it(tmp_path: Path) -> None:
    """Who is quicker with names than another admin, whose upload is under way, gives none."""
    async with (
        a_deal(tmp_path) as deal,
        joined(deal.lab, deal.seller, "Ada", Role.ADMIN, classes=[GENERAL]) as ada,
        joined(deal.lab, deal.seller, "Eve", Role.ADMIN, classes=[GENERAL]) as eve,
    ):
        where, number = await defined(ada)
        await eve.session.sync()
        await commit_names(eve, where, number, CALLED | {"collection": "harmless"})
        for vault in (deal.seller, ada):
            assert await names_of(vault) == [(None, [None, None, None])]
        await commit_names(ada, where, number, CALLED)
        for vault in (deal.seller, ada, eve):
            assert await names_of(vault) == [("customers", CUSTOMERS.column_names)]


async def test_an_identity_that_was_rotated_names_what_it_defined(tmp_path: Path) -> None:
    async with (
        a_deal(tmp_path) as deal,
        joined(deal.lab, deal.seller, "Ada", Role.ADMIN, classes=[GENERAL, CORE]) as ada,
    ):
        session = ada.session
        where = secrets.token_bytes(16)
        await session.act(saying(DefineCollection(where, (GENERAL,))))
        await deal.lab.home("Ada").rotate_identity(ada)
        await deal.seller.session.sync()
        (changed,) = [m for m in await deal.seller.members() if m.status == "unconfirmed"]
        await deal.seller.confirm(changed.member_id, words=changed.words)
        await session.sync_as_member()
        number = catalog_field(GENERAL)
        await session.ensure_writable([(where, number)])
        await commit_names(ada, where, number, {"collection": "late", "fields": [[0, "a", "null"]]})
        await commit_names(ada, where, number, {"collection": "later"})
        assert await names_of(deal.seller) == [("late", ["a"])]


async def test_after_a_handover_names_are_those_of_the_former_owner_and_the_new_one(
    tmp_path: Path,
) -> None:
    async with a_deal(tmp_path) as deal:
        await sold(deal.seller)
        await deal.offer()
        await deal.accept()
        buyer = deal.buyer
        assert await names_of(buyer) == NAMES
        await buyer.rotate()
        await commit_names(buyer, id_of(buyer), OF_CORE, {"collection": "bought"})
        assert [name for name, _ in await names_of(buyer)] == ["bought", "prices"]


async def test_documents_go_where_the_owner_s_names_say(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (lab, owner):
        await owner.upload(pa.table({"iban": [b"DE1"]}), collection="accounts", default=CORE)
        async with joined(lab, owner, "Ada", Role.ADMIN, classes=[GENERAL, CORE]) as ada:
            await ada.session.sync_as_member()
            format_of = {"format": {"kind": "documents"}}
            await commit_names(ada, id_of(ada), OF_CORE, format_of)
            await owner.session.sync()
            await owner.attach(a_file(tmp_path), field_class=CORE)
            # An entry counts for its own document, whoever defined the collection.
            other = tmp_path / "other.pdf"
            other.write_bytes(b"another")
            await ada.attach(other, field_class=CORE)
            assert [each.name for each in await owner.documents()] == ["contract.pdf", "other.pdf"]
            accounts, documents = await owner.collections()
            assert (accounts.name, accounts.documents, accounts.records) == ("accounts", None, 1)
            assert (documents.name, documents.documents) == ("documents-core", 2)


# --- names of a collection of the admin's own


async def test_no_table_goes_by_its_name_alone_to_what_another_admin_defined(
    tmp_path: Path,
) -> None:
    async with (
        a_deal(tmp_path) as deal,
        joined(deal.lab, deal.seller, "Ada", Role.ADMIN, classes=[GENERAL]) as ada,
    ):
        owner = deal.seller
        # Before the owner's first upload of that name; all of it general, which Ada reads.
        await ada.upload(CUSTOMERS, collection="customers", default=GENERAL)
        await owner.session.sync()
        # To say what something is called is not to have looked at its classes.
        await commit_names(owner, id_of(owner), catalog_field(GENERAL), CALLED)
        size = owner.session.believed.ledger.size
        for ask in (owner.upload, owner.plan_upload):
            for key in (None, "name"):
                with pytest.raises(Refused, match="that Ada made, and you never added") as caught:
                    await ask(MORE, collection="customers", replace_by=key)
                assert caught.value.refusal == "conflict"
                assert id_of(owner).hex() in str(caught.value.hint)
        assert await acts_since(owner, size) == []

        # Said by its id, it is what is meant, from then on by its name too.
        named = id_of(owner).hex()
        planned = await owner.plan_upload(MORE, collection=named)
        assert [field.field_class for field in planned.fields] == ["general"] * 3
        added = await owner.upload(MORE, collection=named)
        assert (added.collection, added.appended) == ("customers", True)
        updated = await owner.upload(MORE, collection="customers", replace_by="name")
        assert (updated.unchanged, updated.records) == (1, 0)
        # Ada goes by the name of what she made.
        assert (await ada.upload(CUSTOMERS, collection="customers", again=True)).appended
        assert (await owner.read("customers")).num_rows == 3


async def test_an_update_may_name_a_collection_by_its_id(tmp_path: Path) -> None:
    async with (
        a_deal(tmp_path) as deal,
        joined(deal.lab, deal.seller, "Ada", Role.ADMIN, classes=[GENERAL]) as ada,
    ):
        await ada.upload(CUSTOMERS, collection="customers", default=GENERAL)
        await deal.seller.session.sync()
        named = id_of(deal.seller).hex()
        changed = pa.table({"name": ["Mo"], "national_id": ["N"], "loyalty": ["blue"]})
        done = await deal.seller.upload(changed, collection=named, replace_by="name")
        assert (done.collection, done.replaced) == ("customers", 1)
        assert deal.seller.session.store.uploads.unfinished() == ()


async def test_an_admin_adds_to_what_the_owner_defined(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (lab, owner):
        await owner.upload(CUSTOMERS, collection="customers", default=GENERAL)
        async with joined(lab, owner, "Ada", Role.ADMIN, classes=[GENERAL]) as ada:
            assert (await ada.upload(MORE, collection="customers")).appended


async def begun(vault: Vault) -> bytes:
    """Define a collection and name it customers, as an upload that is cut off then."""
    where, number = await defined(vault)
    await commit_names(vault, where, number, CALLED)
    return where


async def test_whoever_defined_a_collection_goes_by_its_name_though_others_filled_it(
    tmp_path: Path,
) -> None:
    async with (
        a_deal(tmp_path) as deal,
        joined(deal.lab, deal.seller, "Ada", Role.ADMIN, classes=[GENERAL]) as ada,
    ):
        where = await begun(ada)
        await deal.seller.upload(CUSTOMERS, collection=where.hex())
        assert (await ada.upload(MORE, collection="customers")).appended


async def test_a_namesake_is_told_apart_by_its_id(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (lab, owner):
        await sold(owner)
        async with joined(lab, owner, "Ada", Role.ADMIN, classes=[GENERAL]) as ada:
            await ada.upload(CUSTOMERS, collection="tmp", default=GENERAL)
            where = await begun(ada)
            await owner.session.sync()
            both = {id_of(owner).hex(), where.hex()}
            asked: list[Callable[[], Awaitable[Any]]] = [
                lambda: owner.upload(MORE, collection="customers"),
                lambda: owner.erase("customers", [1]),
                lambda: owner.retire_collection("customers"),
            ]
            for ask in asked:
                with pytest.raises(InputError, match="several collections") as caught:
                    await ask()
                assert all(each in str(caught.value.hint) for each in both)
            assert (await owner.upload(MORE, collection=id_of(owner).hex())).appended


async def test_nothing_is_added_to_a_collection_that_has_nothing_yet(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (_, owner):
        where = secrets.token_bytes(16)
        await owner.session.act(saying(DefineCollection(where, (GENERAL,))))
        with pytest.raises(InputError, match="nothing was committed to the collection"):
            await owner.upload(PRICES, collection=where.hex())


# --- names that are sealed anew


async def retold(vault: Vault, where: bytes, number: int, said: Mapping[str, str]) -> None:
    """Re-encrypt a catalog's first batch as an admin of its own mind would: words exchanged."""
    session = vault.session
    await session.sync_as_member()
    found = await read_rows(session, session.state.collections[where], number)
    batch = found.rows[0].batch
    rows = [row.values for row in found.rows if row.batch.id == batch.id]
    await session.act(lambda _: session.next_epochs([(where, number)]))
    address = session.writable(where, number)
    cells = Cells.from_list([encode(told(row, said)) for row in rows], string_like=True)
    field_class = session.state.collections[where].class_of(number)
    key = session.key(address).key.expose()
    column = ColumnToSeal(number, address.epoch, field_class, key, cells)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secrets, "token_bytes", lambda _: batch.id)
        sealed = seal_batch([column])
    upload = os.urandom(16)
    await session.transport.stage(session.vault_id, upload, batch.id, sealed.body())
    move = MovedBlock(batch.id, batch.manifest.blocks[0].sha256, sealed.manifest.blocks[0])
    await session.act(saying(Reencrypt(upload, where, 0, True, (move,))))


def told(value: Any, said: Mapping[str, str]) -> Any:
    """Return a row with some words in the place of others, however deep they stand."""
    if isinstance(value, Mapping):
        return {key: told(each, said) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [told(each, said) for each in value]
    return said.get(value, value) if isinstance(value, str) else value


SWAPPED = {"national_id": "loyalty", "loyalty": "national_id"}


@asynccontextmanager
async def renamed(directory: Path) -> AsyncIterator[tuple[Lab, Vault]]:
    """Give an owner whose names of core fields an admin without core has sealed anew, exchanged."""
    async with a_vault(directory) as (lab, owner):
        await sold(owner)
        async with joined(lab, owner, "Ada", Role.ADMIN, classes=[GENERAL]) as ada:
            await retold(ada, id_of(ada), OF_CORE, SWAPPED)
            yield lab, owner


async def test_whoever_seals_names_anew_changes_none(tmp_path: Path) -> None:
    async with renamed(tmp_path) as (lab, owner), joined(lab, owner, "Eve"):
        await owner.session.sync()
        for _ in range(2):
            names = await read_names(owner.session, id_of(owner))
            assert list(names.fields) == [0]
            assert isinstance(names.failure, IntegrityError)
            assert "others than this home saw" in str(names.failure)
        with pytest.raises(InputError, match="no field 'loyalty'"):
            await owner.grant("Eve", fields=["loyalty"], collection="customers")
        with pytest.raises(IntegrityError, match="others than this home saw") as caught:
            await owner.read("customers")
        assert "who re-encrypted" in str(caught.value.hint)
        # Who it was stands in the log, and the owner names them again.
        fields = [[1, "national_id", "string"], [2, "loyalty", "string"]]
        await commit_names(owner, id_of(owner), OF_CORE, {"fields": fields})
        assert (await owner.read("customers")).equals(CUSTOMERS)


async def test_names_of_people_that_are_sealed_anew_change_nobody(tmp_path: Path) -> None:
    async with (
        a_vault(tmp_path) as (lab, owner),
        joined(lab, owner, "Bob"),
        joined(lab, owner, "Eve"),
        joined(lab, owner, "Kim", Role.ADMIN, classes=[GENERAL]) as kim,
    ):
        await owner.members()
        await retold(kim, *PEOPLE, {"Sue": "Eve"})
        await owner.session.sync()
        people = await read_people(owner.session)
        assert [each.words for each in people.names.values()].count("Eve") == 1


async def test_a_home_that_never_saw_the_names_believes_who_sealed_them(tmp_path: Path) -> None:
    """Nothing tells it: what is left of the attack, and said in SECURITY.md."""
    async with renamed(tmp_path) as (_, owner):
        owner.session.store._db.execute("DELETE FROM seen")
        await owner.session.sync()
        names = await read_names(owner.session, id_of(owner))
        assert [names.fields[number].name for number in (1, 2)] == ["loyalty", "national_id"]


async def test_names_that_are_sealed_anew_as_they_were_and_erased_in_part_count(
    tmp_path: Path,
) -> None:
    async with a_vault(tmp_path) as (_, owner):
        await sold(owner)
        await owner.rotate(reencrypt=True)
        assert await names_of(owner) == NAMES
        rows = ({"file": "a.csv"}, {"file": "b.csv"})
        await commit_names(owner, id_of(owner), OF_CORE, *rows)
        assert (await owner.collection("customers")).file == "b.csv"
        last = owner.session.state.collections[id_of(owner)].batches[-1]
        gone = {last.id: frozenset({1})}
        await erase(owner.session, id_of(owner), gone, Reason.OTHER, no_progress)
        await owner.rotate(reencrypt=True)
        names = await read_names(owner.session, id_of(owner))
        assert (names.file, names.failure) == ("a.csv", None)
