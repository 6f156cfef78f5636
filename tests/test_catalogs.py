"""Names in catalogs: written before the data they name, read strictly, hostile or not."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from client import catalogs
from client.catalogs import (
    FIELDS_A_ROW,
    NAME_CHARACTERS,
    Giver,
    NamedField,
    collection_rows,
    person_row,
    read_names,
    read_people,
    seal_rows,
)
from client.columns import Cells
from client.crypto.cells import ColumnToSeal, SealedBatch, seal_batch
from client.errors import Refused
from client.people import write_person
from client.session import saying
from client.transport import Transport
from client.vault import Vault
from protocol import api
from protocol.acts import Commit, Reason, Role
from protocol.blocks import PEOPLE_COLLECTION, PEOPLE_FIELD, FieldClass, catalog_field
from protocol.encoding import decode, encode
from protocol.errors import IntegrityError, ManifestMismatch
from protocol.limits import LIMITS
from tests.answer_lies import SaysFrozen
from tests.deals import (
    Tampering,
    a_deal,
    a_vault,
    acts_since,
    commit_names,
    honest,
    joined,
    rows,
    through,
)
from tests.documents import a_file
from tests.liars import Liar, Lie

pytestmark = pytest.mark.asyncio(loop_scope="module")

GENERAL, SENSITIVE, CORE = FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE
NUMBER = catalog_field(GENERAL)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vault(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Vault]:
    async with a_vault(tmp_path_factory.mktemp("vault")) as (_, made):
        yield made


async def collection(vault: Vault, called: str, **classes: FieldClass) -> bytes:
    made = await vault.upload(rows(2), collection=called, classes=classes, default=GENERAL)
    return bytes.fromhex(made.collection_id)


async def names_after(vault: Vault, name: str, *hostile: dict[str, Any]) -> Any:
    where = await collection(vault, name)
    await commit_names(vault, where, NUMBER, *hostile)
    return await read_names(vault.session, where)


PLAIN = {
    0: NamedField("name", "string"),
    1: NamedField("orders", "int32"),
    2: NamedField("note", "string"),
}


async def test_an_upload_is_named_by_its_catalogs(vault: Vault) -> None:
    where = await collection(vault, "named", name=CORE)
    names = await read_names(vault.session, where)
    assert (names.name, names.title, names.file) == ("named", "Project Lark", None)
    assert names.format == {"kind": "arrow"}
    assert names.fields == PLAIN


async def test_a_class_names_its_own_fields_alone(tmp_path: Path) -> None:
    async with a_deal(tmp_path) as deal:
        where = await collection(deal.seller, "c", name=CORE, orders=SENSITIVE)
        await deal.seller.grant("Bo", classes=[SENSITIVE])
        await deal.buyer.session.sync()
        names = await read_names(deal.buyer.session, where)
        assert names.fields == {1: PLAIN[1]}
        assert (names.name, names.title) == ("c", "Project Lark")
        people = await read_people(deal.buyer.session)
        assert (people.title, people.names) == (None, {})


async def test_later_rows_override_earlier_ones_word_by_word(vault: Vault) -> None:
    names = await names_after(
        vault,
        "over",
        {"collection": "new name"},
        {"fields": [[0, "nombre", "string"]], "file": "f.csv"},
        {"title": "Lark II", "format": {"kind": "csv"}},
    )
    assert (names.name, names.file, names.title) == ("new name", "f.csv", "Lark II")
    assert names.format == {"kind": "csv"}
    assert names.fields == {**PLAIN, 0: NamedField("nombre", "string")}


HOSTILE: dict[str, Any] = {
    "a number that is no field": {"fields": [[3, "x", "string"]]},
    "a catalog's number": {"fields": [[NUMBER, "x", "string"]]},
    "a number below zero": {"fields": [[-1, "x", "string"]]},
    "no type": {"fields": [[0, "x", "strong"]]},
    "a number that is true": {"fields": [[True, "x", "string"]]},
    "an empty name": {"fields": [[0, "", "string"]]},
    "a name of bytes": {"fields": [[0, b"x", "string"]]},
    "a field of two": {"fields": [[0, "x"]]},
    "a field of none": {"fields": [None, 7, "text", []]},
    "fields of a number": {"fields": 7},
    "fields of text": {"fields": "abc"},
    "a title of bytes": {"title": b"x", "collection": 7, "file": None, "format": "csv"},
    "nothing": {},
    "something else": {"else": {"a": [1, 2]}},
}


@pytest.mark.threat("D9")
@pytest.mark.parametrize("row", HOSTILE)
async def test_what_a_writer_got_wrong_names_nothing_and_keeps_nobody_out(
    vault: Vault, row: str
) -> None:
    names = await names_after(vault, row, HOSTILE[row])
    assert names.fields == PLAIN
    assert (names.name, names.title) == (row, "Project Lark")
    assert (await vault.read(row)).equals(rows(2))


@pytest.mark.threat("D9")
async def test_a_field_is_named_by_the_catalog_of_its_own_class_and_no_other(
    vault: Vault,
) -> None:
    """The catalog of core is read last, so what it says of another class's field would count."""
    where = await collection(vault, "classes", name=CORE)
    both = {"fields": [[1, "x", "int8"], [0, "n", "string"]]}
    await commit_names(vault, where, catalog_field(CORE), both)
    names = await read_names(vault.session, where)
    assert names.fields == {**PLAIN, 0: NamedField("n", "string")}


@pytest.mark.parametrize(
    "cell",
    [b"", b"\xc1", b"\x93\x01", b"\x81\xa1a", encode(7), encode(None), b"\xd9\x01a", None],
)
async def test_a_cell_that_is_no_map_in_the_one_encoding_names_nothing(
    vault: Vault, cell: bytes | None
) -> None:
    name = f"cell {cell!r}"
    where = await collection(vault, name)
    session = vault.session
    address = session.writable(where, NUMBER)
    cells = Cells.from_list([cell, encode({"file": "after"})], string_like=True)
    key = session.key(address).key.expose()
    sealed = seal_batch([ColumnToSeal(NUMBER, address.epoch, GENERAL, key, cells)])
    batch = sealed.manifest.batch_id
    await session.transport.stage(session.vault_id, batch, batch, sealed.body())
    await session.act(saying(Commit(batch, where, 0, True, (sealed.manifest,))))
    names = await read_names(session, where)
    assert names.fields == PLAIN
    assert names.file == "after"


@given(
    st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=9)
            | st.binary(max_size=9),
            lambda inner: st.lists(inner, max_size=4)
            | st.dictionaries(st.text(max_size=9), inner, max_size=4),
            max_leaves=8,
        ),
        max_size=4,
    )
)  # fmt: skip
async def test_whatever_is_listed_a_row_is_read_or_names_nothing(
    vault: Vault, listed: list[Any]
) -> None:
    where = next(c for c in vault.session.state.collections.values() if len(c.classes) == 3)
    names = catalogs.Names()
    row = decode(encode({"fields": listed}), max_bytes=LIMITS.cell_bytes)
    assert isinstance(row, dict)
    for each in catalogs._listed(row, "fields"):
        catalogs._add_field(names, where, GENERAL, each)
    assert set(names.fields) <= {0, 1, 2}


async def test_an_admin_without_keys_cannot_stop_the_vault_by_a_name(tmp_path: Path) -> None:
    async with (
        a_vault(tmp_path) as (lab, seller),
        joined(lab, seller, "Kim", Role.KEYLESS_ADMIN) as keyless,
    ):
        where = await collection(seller, "c")
        with pytest.raises(Refused):
            await commit_names(keyless, where, NUMBER, {"fields": [[0, "x", "int8"]]})
        await commit_names(keyless, PEOPLE_COLLECTION, PEOPLE_FIELD, {"party": 7, "name": ["x"]})
        with pytest.raises(Refused):
            await keyless.read("c")
        assert (await seller.read("c")).equals(rows(2))
        assert [m.name for m in await seller.members()] == ["Sue", "Kim"]


async def test_long_names_are_cut_for_people_and_never_for_fields(vault: Vault) -> None:
    long = "字" * (NAME_CHARACTERS + 1)
    names = await names_after(
        vault, "long", {"file": long, "title": long, "fields": [[0, long, "string"]]}
    )
    assert names.file == names.title == long[:NAME_CHARACTERS]
    assert names.fields[0].name == long


async def test_people_are_named_in_the_catalog_that_owner_and_admins_hold(tmp_path: Path) -> None:
    async with (
        a_vault(tmp_path) as (lab, seller),
        joined(lab, seller, "Ada", Role.ADMIN) as admin,
    ):
        me = seller.identity.member_id
        await write_person(seller.session, me, "Susan", note="left on good terms")
        await admin.session.sync()
        people = await read_people(admin.session)
        assert people.title == "Project Lark"
        assert people.names[me] == (Giver.OWNER, "Susan")
        assert people.notes == {me: (Giver.OWNER, "left on good terms")}
        assert "Ada" in {each.words for each in people.names.values()}


async def test_rows_of_a_person() -> None:
    assert person_row(b"p", "Ann") == {"party": b"p", "name": "Ann"}
    assert person_row(b"p", "Ann", title="T", note="N") == {
        "party": b"p", "name": "Ann", "title": "T", "note": "N"
    }  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, FIELDS_A_ROW, FIELDS_A_ROW + 1, 3 * FIELDS_A_ROW])
async def test_the_fields_of_a_catalog_fit_in_cells_however_many(count: int) -> None:
    fields = {i: NamedField("字" * 1_365, "dictionary<" + "x" * 240) for i in range(count)}
    made = collection_rows(
        title="T", collection="c", file="f.csv", table_format={"kind": "csv"}, fields=fields
    )
    assert all(len(encode(row)) < LIMITS.cell_bytes for row in made)
    listed = [tuple(each) for row in made for each in row["fields"]]  # type: ignore[union-attr,arg-type]
    assert listed == [(i, field.name, field.type) for i, field in fields.items()]
    assert [row.get("collection") for row in made] == ["c"] + [None] * (len(made) - 1)


async def test_a_committed_catalog_that_does_not_open_keeps_nobody_from_what_others_named(
    vault: Vault,
) -> None:
    where = await collection(vault, "spoiled")
    session = vault.session
    sealed = seal_rows(session, session.writable(where, NUMBER), [{"title": "never read"}])
    block = sealed.blocks[0][:-1] + bytes([sealed.blocks[0][-1] ^ 1])
    ref = replace(sealed.manifest.blocks[0], sha256=hashlib.sha256(block).digest())
    spoiled = SealedBatch(replace(sealed.manifest, blocks=(ref,)), (block,))
    batch = spoiled.manifest.batch_id
    await session.transport.stage(session.vault_id, batch, batch, spoiled.body())
    await session.act(saying(Commit(batch, where, 0, True, (spoiled.manifest,))))

    names = await read_names(session, where)
    assert names.fields == PLAIN
    assert isinstance(names.failure, IntegrityError)
    assert (await vault.read("spoiled")).equals(rows(2))
    # Whoever misses a name is told why it may be missing.
    with pytest.raises(IntegrityError, match="did not open"):
        await vault.read("spoiled", fields=["phone"])


# --- C3: names that were overridden


@pytest.mark.threat("C3")
async def test_an_older_block_of_names_is_not_taken_for_a_newer_one(tmp_path: Path) -> None:
    async with a_deal(tmp_path) as deal:
        seller = deal.seller
        await write_person(seller.session, deal.buyer.identity.member_id, "Bob A")
        await seller.rotate()
        await write_person(seller.session, deal.buyer.identity.member_id, "Bob B")

        def older(_: api.FetchBlocks, blocks: list[bytes]) -> list[bytes]:
            return [*blocks[:-1], blocks[0]] if len(blocks) > 1 else blocks

        store = seller.session.store
        store._db.execute("DELETE FROM blocks")
        liar = Tampering(honest(seller), older)
        with through(seller, liar), pytest.raises(ManifestMismatch):
            await read_people(seller.session)
        assert liar.lies
        # What was fetched before the lie was checked, and is kept; the lie is not.
        people = await read_people(seller.session)
        assert people.names[deal.buyer.identity.member_id].words == "Bob B"


async def test_a_kept_block_is_checked_again_and_fetched_again_where_it_is_another(
    vault: Vault,
) -> None:
    where = await collection(vault, "kept")
    await read_names(vault.session, where)
    found = vault.session.state.collections[where].blocks(NUMBER)
    batch = found[0][0].id
    kept = vault.session.store.block(batch, NUMBER)
    assert kept is not None
    other = kept[:-1] + bytes([kept[-1] ^ 1])
    vault.session.store.keep_block(batch, NUMBER, other)
    liar = Tampering(honest(vault), lambda _, blocks: [other for _ in blocks])
    with through(vault, liar), pytest.raises(ManifestMismatch):
        await read_names(vault.session, where)
    assert (await read_names(vault.session, where)).name == "kept"
    assert vault.session.store.block(batch, NUMBER) == kept


async def test_a_refusal_that_no_change_explains_is_told_at_once(vault: Vault) -> None:
    """A server that fails is not asked for its log, to see whether it had a reason."""
    where = await collection(vault, "failing")
    vault.session.store._db.execute("DELETE FROM blocks")

    class Failing(Lie):
        pages = 0

        async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> api.LogPage:
            self.pages += 1
            return await honest.log_page(vault_id, start)

        async def fetch(self, *_: Any) -> AsyncGenerator[bytes, None]:
            if self.telling:
                raise Refused("the database failed", code="storage_failed")
            yield b""

    failing = Failing()
    with (
        through(vault, Liar(honest(vault), failing)),
        pytest.raises(Refused, match="the database failed"),
    ):
        await read_names(vault.session, where)
    assert failing.pages == 0
    assert (await read_names(vault.session, where)).name == "failing"


# --- a vault that is frozen, and one that is only said to be


@pytest.mark.threat("C5")
@pytest.mark.parametrize("after", [0, 1])
async def test_whoever_is_told_that_a_vault_is_frozen_does_not_go_on_without_names(
    tmp_path: Path, after: int
) -> None:
    """The upload would make a second collection, in which secret fields have the default class."""
    async with a_deal(tmp_path) as deal, joined(deal.lab, deal.seller, "Ada", Role.ADMIN) as ada:
        await deal.seller.upload(rows(5), collection="c", classes={"name": CORE}, default=GENERAL)
        await deal.seller.attach(a_file(tmp_path))
        size = deal.seller.session.believed.ledger.size
        acting: list[Callable[[], Awaitable[Any]]] = [
            lambda: ada.upload(rows(1), collection="c", default=GENERAL),
            lambda: ada.grant("Bo", classes=[GENERAL]),
            lambda: ada.read("c"),
            ada.members,
            ada.documents,
            ada.collections,
        ]
        for act in acting:
            forget(ada)
            lie = SaysFrozen(after)
            with (
                through(ada, Liar(honest(ada), lie)),
                pytest.raises(ManifestMismatch, match="frozen, and the log does not"),
            ):
                await act()
            assert lie.lies == 1
        assert await acts_since(ada, size) == []
        done = await ada.upload(rows(1), collection="c", classes={"name": CORE}, default=GENERAL)
        assert done.appended
        assert len(await ada.collections()) == 2


@pytest.mark.threat("C5")
async def test_names_that_are_said_not_to_be_there_are_withheld(tmp_path: Path) -> None:
    async with a_deal(tmp_path) as deal:
        await deal.seller.upload(rows(5), collection="c", default=GENERAL)
        await deal.seller.grant("Bo", classes=[GENERAL])
        await deal.buyer.session.sync_as_member()

        class Missing(Lie):
            async def fetch(self, *_: Any) -> AsyncGenerator[bytes, None]:
                if self.telling:
                    raise Refused("there is nothing here for this key", code="not_found")
                yield b""

        with (
            through(deal.buyer, Liar(honest(deal.buyer), Missing())),
            pytest.raises(ManifestMismatch, match="not there, and the log lists them"),
        ):
            await deal.buyer.read("c")

        class JustEnded(Lie):
            """An honest server, that has heard of the end of a grant before who asks."""

            async def fetch(
                self, honest: Transport, vault_id: bytes, request: Any, sizes: tuple[int, ...]
            ) -> AsyncGenerator[bytes, None]:
                await deal.seller.withdraw_grant("Bo", classes=[GENERAL])
                async for block in honest.fetch(vault_id, request, sizes):
                    yield block

        with through(deal.buyer, Liar(honest(deal.buyer), JustEnded())):
            where = deal.buyer.session.state.collections
            names = [await read_names(deal.buyer.session, each) for each in where]
        assert [each.name for each in names] == [None, None]


def forget(vault: Vault) -> None:
    """Leave a home without the names that it had."""
    vault.session.store._db.execute("DELETE FROM blocks")
    vault.session.opened.clear()


@pytest.mark.threat("C5")
async def test_in_a_frozen_vault_nothing_is_called_by_a_name_while_some_are_missing(
    tmp_path: Path,
) -> None:
    async with a_deal(tmp_path) as deal:
        seller = deal.seller
        await seller.upload(rows(5), collection="c", default=GENERAL)
        await seller.attach(a_file(tmp_path))
        await seller.documents()
        await seller.freeze(Reason.BREACH)
        # A home that has them goes by them.
        assert [each.name for each in await seller.documents()] == ["contract.pdf"]
        assert (await seller.status()).documents == 1
        forget(seller)
        assert {each.name for each in await seller.collections()} == {None}
        buyer = next(each for each in await seller.members() if each.role == "bidder")
        assert buyer.name is None
        asked: list[Callable[[], Awaitable[Any]]] = [
            lambda: seller.withdraw_grant("Bo", classes=[GENERAL]),
            lambda: seller.revoke("Bo", Reason.LEFT),
            lambda: seller.collection("c"),
            lambda: seller.withdraw_grant(buyer.member_id, fields=["name"]),
        ]
        for ask in asked:
            with pytest.raises(Refused, match="does not have all of them") as caught:
                await ask()
            assert (caught.value.refusal, "by its id" in str(caught.value.hint)) == ("frozen", True)
        with pytest.raises(Refused) as caught:
            await seller.documents()
        assert caught.value.refusal == "frozen"
        await seller.revoke(buyer.member_id, Reason.LEFT)


@pytest.mark.parametrize("known", [False, True])
async def test_a_vault_that_was_frozen_for_a_moment_is_asked_again(
    tmp_path: Path, known: bool
) -> None:
    """Whether or not one had heard of the freeze before it was lifted."""
    async with a_deal(tmp_path) as deal, joined(deal.lab, deal.seller, "Ada", Role.ADMIN) as ada:
        await deal.seller.upload(rows(5), collection="c", default=GENERAL)

        class Moment(Lie):
            """An honest server, and an owner who is quick."""

            asked = 0

            async def fetch(
                self, honest: Transport, vault_id: bytes, request: Any, sizes: tuple[int, ...]
            ) -> AsyncGenerator[bytes, None]:
                self.asked += 1
                if self.asked == 1:
                    if not known:
                        await deal.seller.freeze(Reason.BREACH)
                    try:
                        async for block in honest.fetch(vault_id, request, sizes):
                            yield block
                    finally:
                        await deal.seller.unfreeze()
                else:
                    async for block in honest.fetch(vault_id, request, sizes):
                        yield block

        if known:
            await deal.seller.freeze(Reason.BREACH)
        with through(ada, Liar(honest(ada), moment := Moment())):
            assert [each.name for each in await ada.collections()] == ["c"]
        assert moment.asked > 1


# --- at home


async def test_names_are_fetched_once_and_kept_sealed(vault: Vault) -> None:
    where = await collection(vault, "once")
    await commit_names(vault, where, NUMBER, {"collection": "twice"})
    asked: list[int] = []

    def count(request: api.FetchBlocks, blocks: list[bytes]) -> list[bytes]:
        asked.append(len(blocks))
        return blocks

    with through(vault, Tampering(honest(vault), count)):
        for _ in range(2):
            assert (await read_names(vault.session, where)).name == "twice"
    assert asked == [1]  # and not those that this home has sealed itself
    everything = b"".join(
        block for (block,) in vault.session.store._db.execute("SELECT block FROM blocks")
    )
    assert b"orders" not in everything


async def test_rows_are_sealed_under_the_newest_key(vault: Vault) -> None:
    address = vault.session.writable(PEOPLE_COLLECTION, PEOPLE_FIELD)
    sealed = seal_rows(vault.session, address, [person_row(b"p" * 32, "Ann")] * 3)
    (ref,) = sealed.manifest.blocks
    assert (ref.field, ref.epoch, sealed.manifest.records) == (PEOPLE_FIELD, address.epoch, 3)


async def test_a_column_may_be_called_anything(vault: Vault) -> None:
    names = ["../etc/passwd", "=cmd()", "\u202egnp.exe", " ", "a\tb\nc", "😀", "NULL"]
    table = pa.table({name: [1] for name in names})
    await vault.upload(table, collection="any")
    assert (await vault.read("any")).schema.names == names
