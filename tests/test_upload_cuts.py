"""Uploads that are cut anywhere go on where they stopped: every record once, nothing by halves."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from client import table_uploads, uploads
from client.errors import InputError, Refused, Unreachable
from client.overlap import IN_FLIGHT
from client.results.progress import Progress
from client.tables import TableChanged, TableUnreadable
from client.vault import Vault
from tests.deals import (
    Breaking,
    a_vault,
    acts_since,
    as_killed,
    hanging_at,
    honest,
    in_batches_of,
    journal_of,
    rows,
    through,
)
from tests.uploading import (
    CLASSES,
    GENERAL,
    OPTIONS,
    TABLE,
    CommitsUpTo,
    Crowded,
    Ending,
    Watched,
    as_parquet,
    exact,
    one_vault,
    tasks_of_clients,
    uploaded,
    with_empty_journal,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


opened = pytest_asyncio.fixture(scope="module", loop_scope="module")(one_vault)
mine = pytest.fixture(with_empty_journal)
file = pytest.fixture(as_parquet)
# --- cut at every awaited step


@pytest.mark.threat("R2")
async def test_an_upload_cut_at_any_request_goes_on(mine: Vault, file: Path) -> None:
    for cut in itertools.count():
        name = f"cut {cut}"
        # The request is lost, or the answer to it.
        breaking = Breaking(honest(mine), cut, after=cut % 2 == 0)
        before = tasks_of_clients()
        with through(mine, breaking):
            try:
                await uploaded(mine, file, name)
            except Unreachable:
                assert tasks_of_clients() == before
            else:
                break
        kept = journal_of(mine)[1]
        watched = Watched(mine)
        with through(mine, watched):
            result = await uploaded(mine, file, name)
        assert result.resumed_batches == kept
        assert len(watched.stages) == 6 - kept
        await exact(mine, name)
    assert cut > 12


@pytest.mark.threat("R2")
async def test_a_client_killed_at_any_request_goes_on_from_its_disk(
    tmp_path: Path, file: Path
) -> None:
    async with a_vault(tmp_path / "v") as (lab, mine):
        home = lab.home("seller")
        for cut in itertools.count():
            name = f"cut {cut}"
            work = uploaded(mine, file, name)
            async with hanging_at(mine, cut, work, after=cut % 2 == 1) as hung:
                if hung:
                    home = as_killed(home, lab, f"killed {cut}")
            if not hung:
                break
            await mine.close()
            mine = home.vault()
            await uploaded(mine, file, name)
            await exact(mine, name)
        await mine.close()
    assert cut > 12


async def test_an_upload_cut_between_any_two_batches_seals_none_of_them_again(
    mine: Vault, file: Path
) -> None:
    for cut in range(6):
        name = f"boundary {cut}"
        first = Ending(mine, cut)
        with through(mine, first), pytest.raises(Unreachable):
            await uploaded(mine, file, name)
        assert journal_of(mine) == (1, cut)
        second = Watched(mine)
        with through(mine, second):
            assert (await uploaded(mine, file, name)).resumed_batches == cut
        batches = [batch for _, batch in first.stages + second.stages]
        assert len(set(batches)) == len(batches) == 6
        assert {upload for upload, _ in first.stages + second.stages} == {second.stages[0][0]}
        await exact(mine, name)


async def test_a_commit_in_parts_goes_on_from_the_part_that_landed(
    mine: Vault, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PART_BYTES", 600)
    for cut in itertools.count():
        name = f"part {cut}"
        committing = CommitsUpTo(mine, cut)
        with through(mine, committing):
            try:
                await uploaded(mine, file, name)
            except Unreachable:
                assert name not in [each.name for each in await mine.collections()]
            else:
                break
        size = mine.session.believed.ledger.size
        await uploaded(mine, file, name)
        # What landed before did not land again.
        assert await acts_since(mine, size) == ["commit"] * (3 - cut)
        assert not mine.session.state.pending
        await exact(mine, name)
    assert cut == 3


# --- what is not the same upload


async def test_a_changed_file_is_another_upload(mine: Vault, file: Path) -> None:
    with through(mine, Ending(mine, 4)), pytest.raises(Unreachable):
        await uploaded(mine, file, "changed")
    assert journal_of(mine) == (1, 4)
    other = TABLE.slice(0, 13)
    pq.write_table(other, file)

    assert (await uploaded(mine, file, "changed")).resumed_batches == 0

    # It went into the collection that the first had begun, and nothing else is left of that.
    await exact(mine, "changed", other)
    assert all(each.name for each in await mine.collections())


async def test_an_upload_whose_name_was_taken_meanwhile_is_not_resumed(
    mine: Vault, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with through(mine, Ending(mine, 4)), pytest.raises(Unreachable):
        await uploaded(mine, file, "two of a name")
    # Somebody else's home knows nothing of what this one has under way.
    with monkeypatch.context() as patch:
        patch.setattr(table_uploads, "giving_way", lambda *_: ())
        await mine.upload(rows(3), collection="two of a name", default=GENERAL)
    with pytest.raises(InputError, match="'name' is to be sensitive, and general there"):
        await mine.upload(
            file, collection="two of a name", classes=CLASSES, default=GENERAL, options=OPTIONS
        )
    assert (await mine.read("two of a name")).equals(rows(3))
    await mine.upload(file, collection="two of a name", options=OPTIONS)
    assert (await mine.read("two of a name")).equals(pa.concat_tables([rows(3), TABLE]))


@pytest.mark.parametrize(
    "more",
    [
        {"collection": "another"},
        {"options": in_batches_of(6)},
    ],
)
async def test_another_name_or_cut_is_another_upload(
    mine: Vault, file: Path, more: dict[str, Any]
) -> None:
    name = f"same {secrets.token_hex(4)}"
    with through(mine, Ending(mine, 4)), pytest.raises(Unreachable):
        await uploaded(mine, file, name)
    given: dict[str, Any] = {
        "collection": name, "classes": CLASSES, "default": GENERAL, "options": OPTIONS, **more
    }  # fmt: skip
    if more.get("collection"):
        given["collection"] += secrets.token_hex(4)
    assert (await mine.upload(file, **given)).resumed_batches == 0
    assert (await mine.read(given["collection"])).equals(TABLE)


async def test_a_table_in_memory_is_never_taken_for_an_earlier_one(
    mine: Vault,
) -> None:
    with through(mine, Ending(mine, 4)), pytest.raises(Unreachable):
        await uploaded(mine, TABLE, "memory")
    assert (await uploaded(mine, TABLE, "memory")).resumed_batches == 0
    assert (await mine.read("memory")).equals(TABLE)


async def test_a_file_that_is_there_already_is_refused_and_nothing_is_left_of_it(
    mine: Vault, file: Path
) -> None:
    await uploaded(mine, file, "taken")
    size = mine.session.believed.ledger.size
    with pytest.raises(Refused, match=r"was uploaded to 'taken' before \(act ") as caught:
        await uploaded(mine, file, "taken")
    assert caught.value.refusal == "conflict"
    assert await acts_since(mine, size) == []
    await exact(mine, "taken")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
async def test_a_file_that_changes_while_it_is_read_leaves_nothing_of_the_other_content(
    mine: Vault, tmp_path: Path, kind: str
) -> None:
    # Were one batch of the changed file kept, going on with the first would mix the two.
    path, name = tmp_path / f"c.{kind}", f"changing {kind}"
    table = pa.table({"n": [f"{i:08}" for i in range(200_000)]})

    def write(content: pa.Table) -> None:
        if kind == "csv":
            path.write_text("n\n" + "\n".join(content["n"].to_pylist()) + "\n")
        else:
            pq.write_table(content, path, row_group_size=10_000, compression="none")

    write(table)
    first = path.read_bytes()
    # As long as it was, with every number another.
    second = first[:2] + first[2:-1_000].replace(b"0", b"9") + first[-1_000:]
    changed: list[int] = []

    def on_progress(progress: Progress) -> None:
        if not changed and journal_of(mine)[1] > 3:
            changed.append(progress.done)
            with path.open("r+b") as stream:
                stream.write(second)
            os.utime(path, ns=(1, 1))

    options = in_batches_of(4_096)
    with pytest.raises((TableChanged, TableUnreadable)):
        await mine.upload(path, collection=name, options=options, on_progress=on_progress)
    path.write_bytes(first)

    result = await mine.upload(path, collection=name, options=options)

    assert result.resumed_batches > 0
    assert (await mine.read(name)).equals(table)
    assert journal_of(mine) == (0, 0)


# --- Ctrl-C


@pytest.mark.parametrize("at", range(13))
async def test_ctrl_c_leaves_no_task_and_the_upload_goes_on(
    mine: Vault, file: Path, at: int
) -> None:
    name = f"stopped {at}"
    before = tasks_of_clients()
    async with hanging_at(mine, at, uploaded(mine, file, name)) as hung:
        assert hung
    assert tasks_of_clients() == before
    await uploaded(mine, file, name)
    await exact(mine, name)


async def test_few_batches_are_on_their_way_at_once(mine: Vault) -> None:
    crowded = Crowded(mine, IN_FLIGHT)
    seen: list[Progress] = []
    with through(mine, crowded):
        await mine.upload(
            rows(60), collection="slow", options=in_batches_of(3), on_progress=seen.append
        )
    assert crowded.most == IN_FLIGHT
    assert [each.done for each in seen] == list(range(3, 61, 3))
    assert {each.total for each in seen} == {60}


async def test_one_batch_that_fails_stops_the_others_on_their_way(mine: Vault, file: Path) -> None:
    ended: list[str] = []
    another = asyncio.Event()

    class OneFails(Watched):
        async def stage(self, *given: Any) -> None:
            mine_is = len(ended)
            ended.append("begun")
            if mine_is == 3:
                await another.wait()
                raise Unreachable("the cable was cut")
            if mine_is > 3:
                another.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.append("stopped")
            await super().stage(*given)

    before = tasks_of_clients()
    with through(mine, OneFails(mine)), pytest.raises(Unreachable):
        await uploaded(mine, file, "one fails")
    assert tasks_of_clients() == before
    assert ended.count("stopped") == ended.count("begun") - 4 > 0
    await uploaded(mine, file, "one fails")
    await exact(mine, "one fails")
