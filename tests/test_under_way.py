"""An upload that was cut off holds the name that its collection is to have."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from client.errors import InputError, Refused, Unreachable
from client.vault import Vault
from protocol.blocks import FieldClass
from tests.deals import through
from tests.uploading import (
    CLASSES,
    GENERAL,
    OPTIONS,
    TABLE,
    Ending,
    as_parquet,
    called_like_its_test,
    exact,
    one_vault,
    uploaded,
    with_empty_journal,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

opened = pytest_asyncio.fixture(scope="module", loop_scope="module")(one_vault)
mine = pytest.fixture(with_empty_journal)
file = pytest.fixture(as_parquet)
name = pytest.fixture(called_like_its_test)


async def cut_off(vault: Vault, table: Path | pa.Table, name: str, sent: int = 4) -> str:
    """Begin an upload, and have it cut off after so many batches; return its collection's id."""
    with through(vault, Ending(vault, sent)), pytest.raises(Unreachable):
        await uploaded(vault, table, name)
    (begun,) = vault.session.store.uploads.unfinished()
    return begun.collection.hex()


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "part.parquet"
    pq.write_table(TABLE.slice(0, 7), path)
    return path


async def test_another_file_makes_no_second_collection_of_a_name_that_an_upload_holds(
    mine: Vault, file: Path, other: Path, name: str
) -> None:
    collection = await cut_off(mine, file, name)
    for asked in (mine.upload, mine.plan_upload):
        with pytest.raises(Refused) as caught:
            await asked(other, collection=name, classes=CLASSES, default=GENERAL, options=OPTIONS)
        assert caught.value.refusal == "conflict"
        assert str(caught.value) == f"an upload of customers.parquet to {name!r} is unfinished"
        hint = caught.value.hint or ""
        assert f"'sealroom upload customers.parquet --collection {name}' goes on" in hint
        assert f"'sealroom collection retire {collection[:16]} --reason mistake'" in hint

    assert (await uploaded(mine, file, name)).resumed_batches == 4
    await exact(mine, name)


async def test_once_it_is_given_up_the_name_is_free(
    mine: Vault, file: Path, other: Path, name: str
) -> None:
    await cut_off(mine, file, name)
    await mine.retire_collection(name)
    assert (await uploaded(mine, other, name)).resumed_batches == 0
    await exact(mine, name, TABLE.slice(0, 7))


async def test_a_file_that_was_edited_meanwhile_goes_into_its_place_and_says_that_it_starts_over(
    mine: Vault, file: Path, name: str
) -> None:
    collection = await cut_off(mine, file, name)
    pq.write_table(TABLE.slice(0, 13), file)
    looked = await mine.plan_upload(
        file, collection=name, classes=CLASSES, default=GENERAL, options=OPTIONS, rehearse=False
    )
    done = await uploaded(mine, file, name)
    said = f"customers.parquet reads otherwise than when its upload to {name!r} was cut off, "
    for notes in (looked.notes, done.notes):
        assert [each for each in notes if each.startswith(said)] == [f"{said}so it starts over"]
    assert (done.resumed_batches, done.collection_id) == (0, collection)
    await exact(mine, name, TABLE.slice(0, 13))


async def test_the_same_file_with_other_classes_is_told_so(
    mine: Vault, file: Path, name: str
) -> None:
    await cut_off(mine, file, name)
    with pytest.raises(Refused, match="is unfinished, with other classes"):
        await mine.upload(file, collection=name, classes={"name": FieldClass.CORE}, options=OPTIONS)


async def test_what_sent_nothing_holds_no_name(
    mine: Vault, file: Path, other: Path, name: str
) -> None:
    collection = await cut_off(mine, file, name, sent=0)
    done = await uploaded(mine, other, name)
    assert done.collection_id == collection
    assert not any("starts over" in each for each in done.notes)
    await exact(mine, name, TABLE.slice(0, 7))


async def test_a_table_in_memory_goes_into_the_place_of_one_that_was_cut_off(
    mine: Vault, name: str
) -> None:
    collection = await cut_off(mine, TABLE, name)
    done = await uploaded(mine, TABLE, name)
    assert done.collection_id == collection
    assert any(each.startswith("the table reads otherwise") for each in done.notes)
    await exact(mine, name)


async def test_an_unfinished_upload_is_found_by_its_name(
    mine: Vault, file: Path, name: str
) -> None:
    collection = await cut_off(mine, file, name)
    found = await mine.collection(name)
    assert (found.collection_id, found.name, found.records) == (collection, None, 0)
    assert [each.file for each in found.unfinished] == ["customers.parquet"]
    with pytest.raises(InputError, match="no collection"):
        await mine.collection(f"{name}, or not")


# --- under another name


async def test_a_file_that_was_renamed_goes_on_by_its_content_and_says_what_it_is_called(
    mine: Vault, file: Path, name: str
) -> None:
    await cut_off(mine, file, name)
    renamed = file.rename(file.with_name("renamed.parquet"))
    looked = await mine.plan_upload(
        renamed, collection=name, classes=CLASSES, default=GENERAL, options=OPTIONS, rehearse=False
    )
    done = await uploaded(mine, renamed, name)
    assert done.resumed_batches == 4
    said = (
        "renamed.parquet is what was begun as customers.parquet, and goes on with it: "
        "the vault calls it customers.parquet"
    )
    for notes in (looked.notes, done.notes):
        assert [each for each in notes if "begun as" in each] == [said]
    assert (await mine.collection(name)).file == "customers.parquet"
    await exact(mine, name)


async def test_a_file_that_goes_on_under_its_own_name_says_nothing_of_it(
    mine: Vault, file: Path, name: str
) -> None:
    await cut_off(mine, file, name)
    assert not any("begun as" in each for each in (await uploaded(mine, file, name)).notes)


async def test_a_file_that_was_renamed_with_other_classes_is_known_by_its_content(
    mine: Vault, file: Path, name: str
) -> None:
    collection = await cut_off(mine, file, name)
    renamed = file.rename(file.with_name("renamed.parquet"))
    for asked in (mine.upload, mine.plan_upload):
        with pytest.raises(Refused) as caught:
            await asked(
                renamed, collection=name, classes={"name": FieldClass.CORE}, options=OPTIONS
            )
        assert str(caught.value) == (
            "renamed.parquet is customers.parquet under another name, "
            f"and its upload to {name!r} is unfinished, with other classes"
        )
        hint = caught.value.hint or ""
        assert f"'sealroom upload renamed.parquet --collection {name}' goes on with it" in hint
        assert f"'sealroom collection retire {collection[:16]} --reason mistake'" in hint


async def test_another_table_under_another_name_is_told_with_both_names(
    mine: Vault, file: Path, other: Path, name: str
) -> None:
    await cut_off(mine, file, name)
    with pytest.raises(Refused, match=r"an upload of customers\.parquet to") as caught:
        await uploaded(mine, other, name)
    told = "part.parquet holds something else than customers.parquet, so nothing was sent. "
    assert (caught.value.hint or "").startswith(told)


async def test_another_table_with_other_columns_is_told_so(
    mine: Vault, file: Path, other: Path, name: str
) -> None:
    await cut_off(mine, file, name)
    pq.write_table(pa.table({"a": [1], "b": [2]}), other)
    with pytest.raises(Refused, match=r"an upload of customers\.parquet to") as caught:
        await mine.upload(other, collection=name)
    assert (caught.value.hint or "").startswith("part.parquet holds something else than ")


async def test_a_table_in_memory_has_no_name_to_tell(mine: Vault, file: Path, name: str) -> None:
    await cut_off(mine, file, name)
    with pytest.raises(Refused, match=r"an upload of customers\.parquet to") as caught:
        await uploaded(mine, TABLE.slice(0, 3), name)
    assert (caught.value.hint or "").startswith("Nothing was sent. ")
