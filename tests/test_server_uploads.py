"""Uploading, committing and fetching: once, whole, by those who may, and cut off when removed."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from client.crypto.identity import Identity
from protocol import acts, api
from protocol.acts import Role
from protocol.blocks import (
    PEOPLE_COLLECTION,
    PEOPLE_FIELD,
    FieldClass,
    Manifest,
    catalog_field,
    join_bundle,
)
from protocol.errors import Frozen, LimitExceeded, NotFound
from protocol.ledger import act_leaf
from protocol.limits import LIMITS
from protocol.merkle import leaf_hash
from tests.casts import Cast, staged_cast
from tests.servers import Answer, LiveVault, blocks_in, live_vault
from tests.world import of_class
from vault import fetches
from vault.fetches import expect_bounded

UPLOAD = b"\x42" * 16


def committing(
    live: LiveVault,
    author: Identity,
    cast: Cast,
    *manifests: Manifest,
    upload: bytes = UPLOAD,
    number: int | None = None,
    part: int = 0,
    last: bool = True,
) -> bytes:
    """Return a signed commit as a leaf; nothing lands here."""
    act = live.draft(author, acts.Commit(upload, cast.collection, part, last, manifests))
    return act_leaf(live.signed(author, act if number is None else replace(act, number=number)))


async def staged(live: LiveVault, who: Identity, upload: bytes = UPLOAD) -> tuple[bytes, ...]:
    answer = await live.get(who, live.at(api.UPLOAD, upload=upload))
    return answer.read(api.Staged).batches


async def test_a_batch_is_staged_once_and_shown_by_its_commit(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        owner, manifest = live.owner, live.records(cast.collection)
        for _ in range(3):
            answer = await live.stage(owner, UPLOAD, manifest)
            assert answer.read(api.Staged).batches == (manifest.batch_id,)
        assert await staged(live, owner) == (manifest.batch_id,)
        assert await staged(live, cast["admin"]) == ()
        wanted = (manifest.batch_id, (0, 1))
        assert (await live.fetch(owner, cast.collection, wanted)).status == 404
        leaf = committing(live, owner, cast, manifest)
        first = (await live.submit(owner, leaf)).read(api.Submitted)
        assert (await live.submit(owner, leaf)).read(api.Submitted).index == first.index
        served = await live.fetch(owner, cast.collection, wanted)
        assert served.headers["Content-Type"] == api.BLOCKS_CONTENT_TYPE
        assert int(served.headers["Content-Length"]) == len(served.body)
        assert tuple(blocks_in(served.body)) == live.blocks[manifest.batch_id]
        assert await staged(live, owner) == ()
        # the upload is closed for ever, and so is the batch id
        for upload in (UPLOAD, os.urandom(16)):
            again = await live.stage(owner, upload, manifest)
            assert (again.status, again.code) == (409, "conflict")


async def test_a_commit_lists_what_is_staged_by_its_author(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        owner, admin = live.owner, cast["admin"]
        there, absent = live.records(cast.collection), live.records(cast.collection)
        await live.stage(owner, UPLOAD, there)
        elsewhere = os.urandom(16)
        changed = replace(there, blocks=live.records(cast.collection).blocks)
        for author, upload, manifests in (
            (owner, UPLOAD, (there, absent)),
            (owner, UPLOAD, (changed,)),
            (owner, elsewhere, (there,)),
            (admin, UPLOAD, (there,)),
        ):
            leaf = committing(live, author, cast, *manifests, upload=upload)
            refused = await live.submit(author, leaf)
            assert (refused.status, refused.code) == (409, "out_of_order")
            assert "not staged" in refused.error.message
        taken = await live.stage(admin, UPLOAD, absent)
        assert (taken.status, taken.code) == (409, "conflict")
        assert (await live.submit(owner, committing(live, owner, cast, there))).status == 200


async def test_an_upload_in_parts_is_shown_by_its_last(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        owner = live.owner
        manifests = [live.records(cast.collection) for _ in range(3)]
        for manifest in manifests:
            await live.stage(owner, UPLOAD, manifest)
        first = live.state.numbers[owner.member_id]
        wanted = [(manifest.batch_id, (1,)) for manifest in manifests]
        for part, manifest in enumerate(manifests):
            assert (await live.fetch(owner, cast.collection, *wanted[: part + 1])).status == 404
            leaf = committing(
                *(live, owner, cast, manifest), part=part, last=part == 2, number=first + part
            )
            assert (await live.submit(owner, leaf)).status == 200
        served = await live.fetch(owner, cast.collection, *wanted)
        assert blocks_in(served.body) == [live.blocks[m.batch_id][1] for m in manifests]


async def test_an_upload_is_what_its_manifest_says_and_its_path_names(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        manifest = live.records(cast.collection)
        body = live.batch_body(manifest)
        path = live.at(api.BATCH, upload=UPLOAD, batch=manifest.batch_id)
        cases = (
            (path, body[:-1] + bytes((body[-1] ^ 1,)), 422, "manifest_mismatch"),
            (path, body + b"\x00", 400, "malformed"),
            (path, b"\xff\xff", 400, "malformed"),
            (live.at(api.BATCH, upload=UPLOAD, batch=os.urandom(16)), body, 400, "malformed"),
        )
        asker = live.asker
        assert asker is not None
        for where, sent, status, code in cases:
            refused = await asker.ask(live.owner, "PUT", where, sent, api.BATCH_CONTENT_TYPE)
            assert (refused.status, refused.code) == (status, code)
        assert await staged(live, live.owner) == ()


async def test_a_bundle_is_stored_whole_or_not_at_all(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        owner, (one, two, three) = live.owner, (live.records(cast.collection) for _ in range(3))
        both = [live.batch_body(each) for each in (one, two)]
        flipped = both[1][:-1] + bytes((both[1][-1] ^ 1,))
        for bundle, status, code in (
            (join_bundle(both)[:-1], 400, "malformed"),
            (join_bundle([both[0], both[0]]), 400, "malformed"),
            (join_bundle([both[0], b""]), 400, "malformed"),
            (join_bundle([both[0], flipped]), 422, "manifest_mismatch"),
            (join_bundle([both[0], live.batch_body(cast.batch)]), 409, "conflict"),
            (join_bundle([b"\0"] * 64) + bytes(5), 413, "limit_exceeded"),
        ):
            refused = await live.bundle(owner, UPLOAD, bundle)
            assert (refused.status, refused.code) == (status, code), bundle[:40]
            assert await staged(live, owner) == ()
        taken = await live.stage_several(owner, UPLOAD, one, two)
        assert taken.read(api.Staged).batches == tuple(sorted((one.batch_id, two.batch_id)))
        assert (await live.stage_several(owner, UPLOAD, two, three)).status == 200
        every = tuple(sorted(each.batch_id for each in (one, two, three)))
        assert await staged(live, owner) == every
        # One id for other bytes, among new ones, is none of them.
        four = live.records(cast.collection)
        other = replace(live.records(cast.collection), batch_id=one.batch_id)
        clashing = await live.stage_several(owner, UPLOAD, four, other)
        assert (clashing.status, clashing.code) == (409, "conflict")
        assert await staged(live, owner) == every


@pytest.mark.threat("S10")
async def test_a_bundle_that_a_removal_overtook_is_taken_back_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        admin, storage = cast["admin"], server.service._storage
        before, *new = (live.records(cast.collection) for _ in range(3))
        assert (await live.stage(admin, UPLOAD, before)).status == 200
        store = storage.stage_batches

        async def frozen_meanwhile(*values: Any, **named: Any) -> tuple[bool, ...]:
            live.land(live.owner, acts.Freeze(acts.Reason.OTHER))
            await live.push()
            return await store(*values, **named)

        monkeypatch.setattr(storage, "stage_batches", frozen_meanwhile)
        refused = await live.stage_several(admin, UPLOAD, before, *new)
        assert (refused.status, refused.code) == (409, "frozen")
        assert await staged(live, admin) == (before.batch_id,)


@pytest.mark.threat("S10")
async def test_what_no_part_names_is_taken_back_from_a_pending_upload_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is removed just then may have the key, and reads the disk."""
    async with live_vault(tmp_path) as (server, live):
        cast, storage = await staged_cast(live), server.service._storage
        named, *new = (live.records(cast.collection) for _ in range(3))
        assert (await live.stage(live.owner, UPLOAD, named)).status == 200
        live.land(live.owner, acts.Commit(UPLOAD, cast.collection, 0, False, (named,)))
        await live.push()
        store = storage.stage_batches

        async def removed_meanwhile(*values: Any, **given: Any) -> tuple[bool, ...]:
            live.remove(cast["admin"])
            await live.push()
            return await store(*values, **given)

        with monkeypatch.context() as patch:
            patch.setattr(storage, "stage_batches", removed_meanwhile)
            refused = await live.stage_several(live.owner, UPLOAD, *new)
        assert (refused.status, refused.code) == (409, "out_of_order")
        assert await staged(live, live.owner) == (named.batch_id,)


async def test_who_uploads_a_field_could_commit_it_somewhere(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        some = live.member(Role.ADMIN, (of_class(FieldClass.GENERAL),))
        await live.push()
        records = live.records(cast.collection)
        names = live.manifest(cast.collection, (catalog_field(FieldClass.CORE),), records=1)
        people = live.manifest(PEOPLE_COLLECTION, (PEOPLE_FIELD,), records=1)
        no_such = live.manifest(cast.collection, (0, 1, 2))
        no_names = live.manifest(cast.collection, (catalog_field(FieldClass.SENSITIVE),))
        for who, manifest, status in (
            (some, records, 403),
            (cast["keyless"], records, 403),
            (cast["keyless"], names, 403),
            (cast["keyless"], people, 200),
            (cast["auditor"], people, 403),
            (some, names, 200),
            (cast["admin"], records, 200),
            (live.owner, no_such, 403),
            (live.owner, no_names, 403),
        ):
            assert (await live.stage(who, os.urandom(16), manifest)).status == status


async def test_a_member_cannot_fill_the_disk(tmp_path: Path) -> None:
    async with live_vault(tmp_path, staged_bytes_per_member=4_000) as (_, live):
        cast = await staged_cast(live)
        codes: list[str] = []
        while len(codes) < 30 and "limit_exceeded" not in codes:
            answer = await live.stage(live.owner, UPLOAD, live.records(cast.collection))
            codes.append("ok" if answer.status == 200 else answer.code)
        assert codes[-1] == "limit_exceeded"
        assert len(codes) > 5
        # and another member's room is its own
        other = await live.stage(cast["admin"], os.urandom(16), live.records(cast.collection))
        assert other.status == 200


async def test_what_is_never_committed_expires(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        manifest = live.records(cast.collection)
        await live.stage(live.owner, UPLOAD, manifest)
        await server.service.expire_staged()
        assert await staged(live, live.owner) == (manifest.batch_id,)
        now = server.service._clock
        server.service._clock = lambda: now() + LIMITS.staged_seconds + 2
        await server.service.expire_staged()
        server.service._clock = now
        assert await staged(live, live.owner) == ()
        assert (await live.stage(live.owner, UPLOAD, manifest)).status == 200


async def test_a_fetch_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        more = [live.records(cast.collection) for _ in range(3)]
        live.commit(live.owner, cast.collection, *more)
        await live.push()
        limits = replace(LIMITS, fetch_blocks=3, fetch_bytes=300)
        monkeypatch.setattr(fetches, "LIMITS", limits)
        one, *_ = wanted = [(each.batch_id, (0,)) for each in (cast.batch, *more)]
        assert (await live.fetch(live.owner, cast.collection, *wanted[:2])).status == 200
        for too_much in (wanted[:3], wanted, [(one[0], (0, 1)), *wanted[1:3]]):
            refused = await live.fetch(live.owner, cast.collection, *too_much)
            assert (refused.status, refused.code) == (413, "limit_exceeded")
        # So many blocks alone are too much, however short they are.
        monkeypatch.setattr(fetches, "LIMITS", replace(LIMITS, fetch_blocks=3))
        assert (await live.fetch(live.owner, cast.collection, *wanted[:3])).status == 200
        refused = await live.fetch(live.owner, cast.collection, *wanted)
        assert (refused.status, refused.code) == (413, "limit_exceeded")


def test_as_many_blocks_as_the_limit_allows_are_not_too_many() -> None:
    batches = tuple(api.WantedBatch(os.urandom(16), (0, 1)) for _ in range(2_048))
    expect_bounded(api.FetchBlocks(bytes(16), batches))
    one_more = api.WantedBatch(os.urandom(16), (0,))
    with pytest.raises(LimitExceeded, match="at most 4096 blocks"):
        expect_bounded(api.FetchBlocks(bytes(16), (*batches, one_more)))


async def test_an_upload_that_was_committed_takes_no_more(tmp_path: Path) -> None:
    async with live_vault(tmp_path) as (_, live):
        cast = await staged_cast(live)
        first, second = live.records(cast.collection), live.records(cast.collection)
        assert (await live.stage(live.owner, UPLOAD, first)).status == 200
        live.land(live.owner, acts.Commit(UPLOAD, cast.collection, 0, True, (first,)))
        await live.push()
        for who in (live.owner, cast["admin"]):
            refused = await live.stage(who, UPLOAD, second)
            assert (refused.status, refused.code) == (409, "conflict")
        assert await staged(live, live.owner) == ()
        assert (await live.stage(live.owner, os.urandom(16), second)).status == 200


@pytest.mark.threat("S10")
@pytest.mark.parametrize("what", ["removed", "withdrawn", "frozen"])
async def test_what_is_being_sent_ends_at_the_block_before_which_it_may_be_read_no_more(
    tmp_path: Path, what: str
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        bidder = cast["bidder"].member_id
        more = live.records(cast.collection)
        live.commit(live.owner, cast.collection, more)
        await live.push()
        named = sorted(each.batch_id for each in (cast.batch, more))
        batches = tuple(api.WantedBatch(each, (0,)) for each in named)
        wanted = api.FetchBlocks(cast.collection, batches)
        _, pieces = await server.service.fetch(live.vault_id, bidder, bytes(32), wanted)
        assert len([await anext(pieces), await anext(pieces)]) == 2
        await live.pull()
        if what == "removed":
            live.remove(cast["bidder"])
        elif what == "withdrawn":
            live.land(live.owner, acts.WithdrawGrant(bidder, (of_class(FieldClass.GENERAL),)))
        else:
            live.land(live.owner, acts.Freeze(acts.Reason.BREACH))
        await live.push()
        with pytest.raises(Frozen if what == "frozen" else NotFound):
            await anext(pieces)


@pytest.mark.threat("S10")
async def test_nothing_of_a_removed_member_lands_after_its_removal(tmp_path: Path) -> None:
    async with live_vault(tmp_path, request_burst=1_000) as (_, live):
        cast = await staged_cast(live)
        everything = (of_class(FieldClass.GENERAL), of_class(FieldClass.CORE))
        admins = [live.member(Role.ADMIN, everything) for _ in range(4)]
        await live.push()
        revokes = []
        for step, admin in enumerate(admins):
            act = live.draft(live.owner, acts.Revoke(admin.member_id, acts.Reason.LEFT))
            act = replace(act, number=act.number + step)
            revokes.append(act_leaf(live.signed(live.owner, act)))
        answers: list[Answer] = []

        async def writing(admin: Identity) -> None:
            for number in range(12):
                upload, manifest = os.urandom(16), live.records(cast.collection)
                answers.append(await live.stage(admin, upload, manifest))
                leaf = committing(*(live, admin, cast, manifest), upload=upload, number=number)
                answers.append(await live.submit(admin, leaf))

        async def reading(admin: Identity) -> None:
            for _ in range(12):
                # what is being sent when the removal lands is cut off
                with suppress(aiohttp.ClientPayloadError):
                    answers.append(
                        await live.fetch(admin, cast.collection, (cast.batch.batch_id, (0, 1)))
                    )

        async def removing() -> None:
            for step, leaf in enumerate(revokes, start=1):
                while [answer.status for answer in answers].count(200) < 4 * step:
                    await asyncio.sleep(0.001)
                assert (await live.submit(live.owner, leaf)).status == 200

        under_way = [work(admin) for admin in admins for work in (writing, reading, reading)]
        await asyncio.gather(removing(), *under_way)
        statuses = Counter(answer.status for answer in answers)
        assert set(statuses) <= {200, 403, 404, 409}
        assert statuses[200] > 10  # some came before
        assert statuses[403] > 10  # and some too late
        await check_removed(live, cast, admins, revokes)


async def check_removed(
    live: LiveVault, cast: Cast, admins: list[Identity], revokes: list[bytes]
) -> None:
    first = live.ledger.size
    await live.pull()
    hashes = [live.ledger.tree.leaf(index) for index in range(live.ledger.size)]
    removed_at = {
        admin.member_id: hashes.index(leaf_hash(leaf))
        for admin, leaf in zip(admins, revokes, strict=True)
    }
    for index in range(first, live.ledger.size):
        leaf, _ = live.leaves[index]
        if leaf[0] == 1:
            _, act = acts.parse_envelope(leaf[1:])
            assert index <= removed_at.get(act.author, index)
    for admin in admins:
        wanted = (cast.batch.batch_id, (0,))
        assert (await live.fetch(admin, cast.collection, wanted)).status == 404
        refused = await live.stage(admin, os.urandom(16), live.records(cast.collection))
        assert refused.status == 403


@pytest.mark.threat("S10")
async def test_a_removal_drops_what_was_staged_and_cuts_off_what_is_being_sent(
    tmp_path: Path,
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        admin = cast["admin"]
        await live.stage(admin, UPLOAD, live.records(cast.collection))
        storage, vault_id = server.service._storage, live.vault_id
        assert await storage.staged_bytes(vault_id, admin.member_id) > 0
        wanted = api.FetchBlocks(cast.collection, (api.WantedBatch(cast.batch.batch_id, (0, 1)),))
        length, pieces = await server.service.fetch(
            vault_id, admin.member_id, os.urandom(32), wanted
        )
        got = [await anext(pieces), await anext(pieces)]
        await live.pull()
        live.remove(admin)
        await live.push()
        with pytest.raises(Exception, match="nothing here"):
            await anext(pieces)
        assert 0 < sum(map(len, got)) < length
        assert await storage.staged_bytes(vault_id, admin.member_id) == 0


@pytest.mark.threat("S10")
async def test_whoever_is_removed_while_its_batch_is_stored_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        admin, manifest = cast["admin"], live.records(cast.collection)
        storage = server.service._storage
        store = storage.stage_batches

        async def removed_meanwhile(*values: Any, **named: Any) -> tuple[bool, ...]:
            live.remove(admin)
            await live.push()
            return await store(*values, **named)

        monkeypatch.setattr(storage, "stage_batches", removed_meanwhile)
        assert (await live.stage(admin, UPLOAD, manifest)).status == 403
        leaf = committing(live, admin, cast, manifest)
        assert (await live.submit(admin, leaf)).status == 403


@pytest.mark.parametrize("was_there", [False, True])
async def test_what_a_freeze_overtook_is_taken_back_unless_it_was_there_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, was_there: bool
) -> None:
    async with live_vault(tmp_path) as (server, live):
        cast = await staged_cast(live)
        manifest, storage = live.records(cast.collection), server.service._storage
        if was_there:
            assert (await live.stage(live.owner, UPLOAD, manifest)).status == 200
        store = storage.stage_batches

        async def frozen_meanwhile(*values: Any, **named: Any) -> tuple[bool, ...]:
            live.land(live.owner, acts.Freeze(acts.Reason.OTHER))
            await live.push()
            return await store(*values, **named)

        monkeypatch.setattr(storage, "stage_batches", frozen_meanwhile)
        refused = await live.stage(live.owner, UPLOAD, manifest)
        assert (refused.status, refused.code) == (409, "frozen")
        assert await staged(live, live.owner) == ((manifest.batch_id,) if was_there else ())
