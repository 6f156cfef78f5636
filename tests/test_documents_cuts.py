"""Files that are being attached, cut off anywhere, go on where they stopped."""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from client import lookout, sending, uploads
from client.documents.local import LocalFile
from client.errors import InputError, Refused, Unreachable
from client.overlap import IN_FLIGHT, Flights
from client.results.progress import Progress
from client.vault import Vault
from protocol import api
from protocol.acts import Commit, Reason, parse_envelope
from protocol.errors import Stale
from protocol.limits import DAY, LIMITS
from tests.company import company
from tests.deals import (
    Breaking,
    a_vault,
    acts_since,
    as_killed,
    hanging_at,
    honest,
    journal_of,
    through,
)
from tests.documents import (
    CORE,
    PIECE,
    SENSITIVE,
    a_contract,
    a_file,
    all_short,
    collection_of,
    content_of,
    document,
    got,
    only,
    with_no_document,
)
from tests.uploading import (
    CommitsUpTo,
    Crowded,
    Ending,
    Meanwhile,
    Restless,
    Watched,
    one_vault,
    tasks_of_clients,
    with_ada,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A file of three pieces: with the catalog four batches that are staged.
BATCHES = 4


_short = pytest.fixture(autouse=True)(all_short)
opened = pytest_asyncio.fixture(scope="module", loop_scope="module")(one_vault)
mine = pytest_asyncio.fixture(loop_scope="module")(with_no_document)
file = pytest.fixture(a_contract)


async def exact(vault: Vault, folder: Path, content: bytes | None = None) -> None:
    """Demand that there is one document, this one, once, and that no journal is left."""
    found = await only(vault)
    assert (found.name, found.state) == ("contract.pdf", "whole")
    assert await got(vault, "contract.pdf", folder) == (content or content_of(20_000))
    assert journal_of(vault) == (0, 0)


# --- on its way in


@pytest.mark.threat("R2")
async def test_an_attachment_cut_at_any_request_goes_on(
    mine: Vault, file: Path, tmp_path: Path
) -> None:
    for cut in itertools.count():
        # The request is lost, or the answer to it.
        breaking = Breaking(honest(mine), cut, after=cut % 2 == 0)
        before = tasks_of_clients()
        with through(mine, breaking):
            try:
                await mine.attach(file)
            except Unreachable:
                assert tasks_of_clients() == before
            else:
                break
        kept = journal_of(mine)[1]
        watched = Watched(mine)
        with through(mine, watched):
            result = await mine.attach(file)
        # Where nothing but the last answer was lost, it is there.
        assert result.already or result.resumed_batches == kept
        assert len(watched.stages) == (0 if result.already else BATCHES - kept)
        await exact(mine, tmp_path / "out")
        await mine.remove_document("contract.pdf")
    assert cut > 10
    await exact(mine, tmp_path / "out")


@pytest.mark.threat("R2")
async def test_a_client_killed_at_any_request_goes_on_from_its_disk(
    tmp_path: Path, file: Path
) -> None:
    async with a_vault(tmp_path / "v") as (lab, mine):
        home = lab.home("seller")
        for cut in itertools.count():
            work = mine.attach(file)
            async with hanging_at(mine, cut, work, after=cut % 2 == 1) as hung:
                if hung:
                    home = as_killed(home, lab, f"killed {cut}")
            if not hung:
                break
            await mine.close()
            mine = home.vault()
            await mine.attach(file)
            await exact(mine, tmp_path / "out")
            await mine.remove_document("contract.pdf")
        await mine.close()
    assert cut > 10


@pytest.mark.parametrize("at", range(0, 13, 2))
async def test_ctrl_c_leaves_no_task_and_the_attachment_goes_on(
    mine: Vault, file: Path, tmp_path: Path, at: int
) -> None:
    before = tasks_of_clients()
    async with hanging_at(mine, at, mine.attach(file)):
        pass
    assert tasks_of_clients() == before
    await mine.attach(file)
    await exact(mine, tmp_path / "out")


async def test_few_batches_are_on_their_way_at_once(mine: Vault, tmp_path: Path) -> None:
    crowded = Crowded(mine, 2)
    with through(mine, crowded):
        await mine.attach(a_file(tmp_path, size=20 * PIECE))
    assert 1 < crowded.most <= IN_FLIGHT


async def test_a_commit_in_parts_goes_on_from_the_part_that_landed(
    mine: Vault, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "LIMITS", replace(LIMITS, act_batches=2))
    for landed in (0, 1):
        with through(mine, CommitsUpTo(mine, landed)), pytest.raises(Unreachable):
            await mine.attach(file)
        assert await mine.documents() == ()
        size = mine.session.believed.ledger.size
        result = await mine.attach(file)
        assert result.resumed_batches == BATCHES
        assert await acts_since(mine, size) == ["commit"] * (2 - landed)
        assert not mine.session.state.pending
        await exact(mine, tmp_path / "out")
        await mine.remove_document("contract.pdf")


async def test_a_file_that_grew_is_another_one(mine: Vault, file: Path, tmp_path: Path) -> None:
    with through(mine, Ending(mine, 2)), pytest.raises(Unreachable):
        await mine.attach(file)
    with file.open("ab") as stream:
        stream.write(b"more")
    result = await mine.attach(file)
    assert result.resumed_batches == 0
    assert await got(mine, "contract.pdf", tmp_path / "out") == content_of(20_000) + b"more"
    # What the first one began is still in the journal, and what it lies in is the same place.
    assert journal_of(mine) == (1, 2)
    (begun,) = mine.session.store.uploads.unfinished()
    assert begun.collection == (await document(mine)).where.id


@pytest.mark.parametrize("name", ["another.pdf", None])
async def test_another_name_or_class_is_another_attachment(
    mine: Vault, file: Path, name: str | None
) -> None:
    with through(mine, Ending(mine, 2)), pytest.raises(Unreachable):
        await mine.attach(file)
    result = await mine.attach(file, name=name, field_class=CORE if name is None else SENSITIVE)
    assert result.resumed_batches == 0


async def test_a_collection_that_was_begun_is_gone_on_with(tmp_path: Path, file: Path) -> None:
    async with a_vault(tmp_path / "v") as (_, mine):
        with through(mine, Ending(mine, 0)), pytest.raises(Unreachable):
            await mine.attach(file)
        begun = collection_of(mine)
        await mine.attach(a_file(tmp_path, "other.pdf", seed=2))
        await mine.attach(file)
        assert {
            (await document(mine, name)).where.id for name in ("other.pdf", "contract.pdf")
        } == {begun.id}
        assert journal_of(mine) == (0, 0)


async def test_two_that_were_begun_before_anything_was_there_share_a_collection(
    tmp_path: Path, file: Path
) -> None:
    async with a_vault(tmp_path / "v") as (_, mine):
        for path in (file, a_file(tmp_path, "other.pdf", seed=2)):
            # Not even the collection was defined.
            breaking = Breaking(honest(mine), 1)
            with through(mine, breaking), pytest.raises(Unreachable):
                await mine.attach(path)
        assert journal_of(mine) == (2, 0)
        await mine.attach(file)
        await mine.attach(tmp_path / "other.pdf")
        assert len(await mine.collections()) == 1


@pytest.mark.parametrize("moment", ["reading", "sealing and sending"])
async def test_a_file_that_changes_meanwhile_leaves_nothing_of_the_change(
    mine: Vault, file: Path, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "Flights", lambda: Flights(1))
    first = file.read_bytes()
    changed: list[Progress] = []

    def on_progress(progress: Progress) -> None:
        if progress.task == moment and not changed:
            changed.append(progress)
            with file.open("r+b") as stream:
                stream.seek(2 * PIECE + 500 if moment == "sealing and sending" else 0)
                stream.write(b"changed")
            os.utime(file, ns=(1, 1))

    with pytest.raises(InputError, match=r"contract.pdf changed while it was being attached"):
        await mine.attach(file, on_progress=on_progress)
    assert await mine.documents() == ()
    file.write_bytes(first)
    kept = journal_of(mine)[1]
    result = await mine.attach(file)
    assert result.resumed_batches == kept
    await exact(mine, tmp_path / "out", first)


async def test_a_file_that_is_cut_short_meanwhile_is_noticed(
    mine: Vault, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "Flights", lambda: Flights(1))

    def on_progress(progress: Progress) -> None:
        if progress.task == "sealing and sending":
            os.truncate(file, 17_000)

    with pytest.raises(InputError, match="changed while it was being attached"):
        await mine.attach(file, on_progress=on_progress)
    assert await mine.documents() == ()


async def test_a_file_is_read_to_its_end_where_reads_are_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = a_file(tmp_path)
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda file, length, at: real(file, min(length, 777), at))
    with LocalFile(path) as file:
        assert b"".join(map(file.piece, range(3))) == content_of(20_000)


# --- removals, offers and heads on the way in


@pytest.mark.threat("R11")
async def test_a_removal_between_the_last_batch_and_the_commit_is_in_time(
    tmp_path: Path, file: Path
) -> None:
    async with with_ada(tmp_path / "deal") as (deal, ada):
        await deal.seller.grant("Bo", classes=[SENSITIVE])
        late = Meanwhile(deal.seller, BATCHES, lambda: ada.revoke("Bo", Reason.OTHER))
        with through(deal.seller, late):
            await deal.seller.attach(file)
        await exact(deal.seller, tmp_path / "out")
        found = await document(deal.seller)
        staged = [batch for _, batch in late.stages]
        assert len(staged) == 2 * BATCHES
        assert {batch.id for batch in found.batches}.isdisjoint(staged[:BATCHES])
        assert {ref.epoch for b in found.batches for ref in b.manifest.blocks} == {2}


@pytest.mark.threat("R11")
async def test_a_removal_is_noticed_while_there_is_still_much_to_seal(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "LOOK_SECONDS", 0)
    async with with_ada(tmp_path / "deal") as (deal, ada):
        await deal.seller.grant("Bo", classes=[SENSITIVE])
        staged: list[bytes] = []

        class Early(Watched):
            async def stage(self, *given: Any) -> None:
                staged.append(given[2])
                if len(staged) == 1:
                    await ada.revoke("Bo", Reason.OTHER)
                await super().stage(*given)

        with through(deal.seller, Early(deal.seller)):
            await deal.seller.attach(file)
        await exact(deal.seller, tmp_path / "out")
        found = await document(deal.seller)
        assert {ref.epoch for b in found.batches for ref in b.manifest.blocks} == {2}


@pytest.mark.threat("R11")
async def test_a_removal_under_an_offer_is_told_as_what_it_does_to_the_keys(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no going on before the offer ends, and its rules would tell half of it."""
    monkeypatch.setattr(lookout, "LOOK_SECONDS", 0)
    async with with_ada(tmp_path / "deal") as (deal, ada):
        usual = Watched(deal.seller)
        with through(deal.seller, usual):
            await deal.seller.attach(file)
        await deal.seller.grant("Bo", classes=[SENSITIVE])

        class Late(Watched):
            async def stage(self, *given: Any) -> None:
                await super().stage(*given)
                if len(self.stages) == len(usual.stages):
                    await deal.seller.withdraw_grant("Bo", classes=[SENSITIVE])
                    await deal.offer()

        with (
            through(ada, Late(ada)),
            pytest.raises(Refused, match="were replaced meanwhile") as caught,
        ):
            await ada.attach(file, name="another.pdf")
        assert caught.value.refusal == "tainted"
        assert len(await ada.documents()) == 1


@pytest.mark.threat("R11")
async def test_an_attachment_whose_keys_are_replaced_again_and_again_is_given_up_for_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "LOOK_SECONDS", 0)
    file = a_file(tmp_path, size=12 * PIECE)
    async with with_ada(tmp_path / "deal") as (deal, ada):
        with (
            through(deal.seller, Restless(deal.seller, ada, first=1)),
            pytest.raises(Refused, match="were replaced meanwhile") as caught,
        ):
            await deal.seller.attach(file)
        assert caught.value.refusal == "tainted"
        assert await deal.seller.documents() == ()
        await deal.seller.attach(file)
        await exact(deal.seller, tmp_path / "out", content_of(12 * PIECE))


async def test_an_offer_stops_it_and_it_goes_on_once_that_is_over(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "LIMITS", replace(LIMITS, act_batches=2))
    async with with_ada(tmp_path / "deal") as (deal, ada):
        with through(ada, CommitsUpTo(ada, 1)), pytest.raises(Unreachable):
            await ada.attach(file)
        await deal.offer()
        with pytest.raises(Refused, match="not while a handover offer is open"):
            await ada.attach(file)
        await deal.buyer.reject(Reason.TERMS)
        # Its landed part was dropped, and every key that the offer disclosed is spoilt.
        assert (await ada.attach(file)).resumed_batches == 0
        await exact(ada, tmp_path / "out")


async def test_batches_that_a_server_has_lost_are_sealed_anew(
    mine: Vault, file: Path, tmp_path: Path
) -> None:
    first = Ending(mine, 3)
    with through(mine, first), pytest.raises(Unreachable):
        await mine.attach(file)
    lost = first.stages[1][1]

    class Forgetful(Watched):
        async def staged(self, vault_id: bytes, upload: bytes) -> api.Staged:
            true = await super().staged(vault_id, upload)
            return api.Staged(tuple(each for each in true.batches if each != lost))

    forgetful = Forgetful(mine)
    with through(mine, forgetful):
        result = await mine.attach(file)
    assert result.resumed_batches == 2
    assert len(forgetful.stages) == 2
    assert lost not in {batch.id for batch in (await document(mine)).batches}
    await exact(mine, tmp_path / "out")


async def test_a_refusal_that_waiting_does_not_mend_is_told(mine: Vault, file: Path) -> None:
    class Strict(Watched):
        async def submit(self, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
            raise Refused("the server is full", code="limit_exceeded")

    await mine.attach(file)
    with through(mine, Strict(mine)), pytest.raises(Refused, match="the server is full"):
        await mine.attach(file, name="second.pdf")


async def test_a_collection_that_is_retired_meanwhile_ends_it(tmp_path: Path, file: Path) -> None:
    async with with_ada(tmp_path / "deal") as (deal, ada):
        await ada.attach(a_file(tmp_path, "first.pdf", seed=2))
        late = Meanwhile(ada, 1, lambda: deal.seller.retire_collection("documents-sensitive"))
        with through(ada, late), pytest.raises(Refused, match="retired while it was being"):
            await ada.attach(file)
        # The same command attaches it once more, to a new one.
        result = await ada.attach(file)
        assert result.resumed_batches == 0
        await exact(ada, tmp_path / "out")


async def test_what_is_gone_as_soon_as_it_is_there_is_told(tmp_path: Path, file: Path) -> None:
    async with with_ada(tmp_path / "deal") as (deal, ada):

        class Late(Watched):
            async def submit(self, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
                answer = await super().submit(vault_id, act)
                if isinstance(parse_envelope(act.envelope)[1].payload, Commit):
                    await deal.seller.remove_document("contract.pdf")
                return answer

        with through(ada, Late(ada)), pytest.raises(Refused, match="as soon as it was attached"):
            await ada.attach(file)
        assert journal_of(ada) == (0, 0)


@pytest.mark.threat("V5")
async def test_nothing_is_sealed_under_a_head_that_nobody_signed_for_too_long(
    tmp_path: Path, file: Path
) -> None:
    now = [time.time()]
    async with company(tmp_path / "c", lambda: now[0]) as cast_:
        ada = await cast_.actor("ada", clock=lambda: now[0])
        now[0] += 7 * DAY + 60
        with ada.catches(Stale, match="last signed the head of this log", but="learned"):
            await ada.vault.attach(file)
        assert journal_of(ada.vault) == (0, 0)
