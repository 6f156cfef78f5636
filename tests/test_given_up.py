"""What an upload leaves behind that was refused or cut off, and how that is given up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.csv
import pytest

from client.errors import InputError, Refused, Unreachable
from client.results.data import GivenUp, UnfinishedUpload
from client.transport import Transport
from client.vault import Vault
from protocol.acts import DefineCollection, Reason, Role, parse_envelope
from tests.cli_world import GIVEN_UP, made_world
from tests.deals import a_vault, honest, in_batches_of, joined, rows, through
from tests.in_process import Lab, ServiceTransport
from tests.uploading import Ending


@pytest.fixture
async def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Lab, Vault]]:
    """A vault with a collection of three records."""
    monkeypatch.setattr("client.sending.threads", lambda: 1)  # so that the names go first
    async with a_vault(tmp_path / "v") as (lab, vault):
        first = tmp_path / "first.csv"
        pyarrow.csv.write_csv(rows(3), first)
        await vault.upload(first, collection="customers")
        yield lab, vault


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "more.csv"
    pyarrow.csv.write_csv(rows(20), path)
    return path


def begun(vault: Vault) -> int:
    return len(vault.session.store.uploads.unfinished())


async def cut_off(vault: Vault, file: Path, name: str, stages: int) -> None:
    with through(vault, Ending(vault, stages)), pytest.raises(Unreachable):
        await vault.upload(file, collection=name, options=in_batches_of(5))


@pytest.mark.parametrize("name", ["customers", "others"])
async def test_what_is_refused_before_anything_was_sent_leaves_nothing_behind(
    made: tuple[Lab, Vault], file: Path, name: str
) -> None:
    lab, vault = made
    async with joined(lab, vault, "Bo", Role.BIDDER) as bo:
        await vault.freeze(Reason.BREACH)
        with pytest.raises(Refused, match="while the vault is frozen"):
            await vault.upload(file, collection=name)
        await vault.unfreeze()
        await vault.offer("Bo", yes=True)
        with pytest.raises(Refused, match="while a handover offer is open"):
            await vault.upload(file, collection=name)
        assert begun(vault) == 0
        assert [each.unfinished for each in await vault.collections()] == [()]
        await bo.reject(Reason.OTHER)
    assert (await vault.upload(file, collection=name)).records == 20


@pytest.mark.parametrize("name", ["customers", "others"])
async def test_what_would_be_refused_is_so_before_anybody_is_asked(
    made: tuple[Lab, Vault], file: Path, name: str
) -> None:
    _, vault = made
    await vault.freeze(Reason.BREACH)
    for rehearse in (False, True):
        with pytest.raises(Refused, match="while the vault is frozen"):
            await vault.plan_upload(file, collection=name, rehearse=rehearse)


async def test_an_addition_that_is_cut_off_before_anything_was_sent_leaves_nothing(
    made: tuple[Lab, Vault], file: Path
) -> None:
    _, vault = made
    await cut_off(vault, file, "customers", 0)
    assert begun(vault) == 0


class DefinedAndGone(ServiceTransport):
    """The honest server, whose answer is lost once it has taken a new collection."""

    def __init__(self, like: Transport) -> None:
        assert isinstance(like, ServiceTransport)
        self.service, self.keyid = like.service, like.keyid

    async def submit(self, vault_id: bytes, act: Any) -> Any:
        answer = await super().submit(vault_id, act)
        if isinstance(parse_envelope(act.envelope)[1].payload, DefineCollection):
            raise Unreachable("the cable was cut")
        return answer


async def test_a_collection_that_may_have_been_made_keeps_the_name_that_only_this_home_knows(
    made: tuple[Lab, Vault], file: Path
) -> None:
    _, vault = made
    with through(vault, DefinedAndGone(honest(vault))), pytest.raises(Unreachable):
        await vault.upload(file, collection="others")
    assert begun(vault) == 1
    assert (await vault.upload(file, collection="others")).records == 20
    assert len(await vault.collections()) == 2  # and not a second one of that name


async def test_an_addition_of_which_nothing_is_known_to_be_sent_is_not_told(
    made: tuple[Lab, Vault],
) -> None:
    from client.journals import JournalledUpload

    _, vault = made
    (found,) = await vault.collections()
    where = bytes.fromhex(found.collection_id)
    # Killed before the first batch was acknowledged.
    vault.session.store.uploads.begin(JournalledUpload(b"u" * 16, where, b"s" * 32, "x"))
    assert (await vault.collection("customers")).unfinished == ()


async def test_an_addition_is_given_up_and_what_is_there_stays(
    made: tuple[Lab, Vault], file: Path
) -> None:
    _, vault = made
    await cut_off(vault, file, "customers", 2)
    (found,) = await vault.collections()
    assert found.unfinished == (UnfinishedUpload("customers", None, 10, 2),)
    done = await vault.give_up(found.collection_id[:16])
    assert done == GivenUp(found.collection_id, 1, None)
    (found,) = await vault.collections()
    assert (found.records, found.unfinished) == (3, ())
    again = await vault.upload(file, collection="customers", options=in_batches_of(5))
    assert (again.records, again.resumed_batches) == (20, 0)


async def test_a_collection_that_has_no_records_yet_is_given_up_whole(
    made: tuple[Lab, Vault], file: Path
) -> None:
    _, vault = made
    await cut_off(vault, file, "others", 2)
    done = await vault.give_up("others")
    assert (done.uploads, done.index) == (1, vault.session.state.size - 1)
    assert begun(vault) == 0
    assert [each.name for each in await vault.collections()] == ["customers"]


async def test_what_was_not_begun_cannot_be_given_up(made: tuple[Lab, Vault]) -> None:
    _, vault = made
    with pytest.raises(InputError, match="this home has no unfinished upload to it") as caught:
        await vault.give_up("customers")
    assert caught.value.hint == "'sealroom collection list' shows those that it has."
    assert (await vault.collection("customers")).records == 3


# --- in words


def test_what_is_given_up_is_told_and_what_becomes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    world = made_world(tmp_path, monkeypatch)
    world.answers["give_up"] = replace(GIVEN_UP, uploads=1)
    assert world.run("collection", "give-up", "X") == 0
    assert capsys.readouterr().out == (
        "given up: 1 upload to X\n"
        "The server deletes what was sent after 7 days; what was there stays.\n"
    )
    world.answers["give_up"] = replace(GIVEN_UP, index=7)
    assert world.run("collection", "give-up", "X") == 0
    told = "The collection had no records, and is retired (leaf 7 of the log)."
    assert told in capsys.readouterr().out
