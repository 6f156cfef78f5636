"""What each change does to the tables, inside a transaction that is not its business.

Nothing here deletes contents but `sweep`, bit by bit, and a rewrite what it rewrites: a block
that goes, for whatever reason, and a part that goes, leave their contents doomed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from protocol.errors import Conflict
from vault.storage.base import (
    AlreadyExists,
    Block,
    Effects,
    NotStaged,
    Publish,
    Relied,
    Rewrite,
    SizeMoved,
    StoredLeaf,
    ToStage,
    UnknownVault,
)
from vault.storage.sqlite_file import FILLER_BYTES
from vault.storage.sqlite_writes import Row, WriteQueue

SWEPT_AT_ONCE: Final = 1_024
VACUUM_PAGES: Final = 1_024
CHECKPOINT_WAIT_MS: Final = 100
BUSY_WAIT_MS: Final = 5_000
STAGED: Final = (
    "SELECT batch, digest FROM {} JOIN uploads USING (vault, upload)"
    " WHERE vault = ? AND upload = ? AND published = 0"
)
"""Batches of an upload that is not published, of its own or made anew."""


class Changes:
    """The changes that there are; each runs in its turn of the queue."""

    def __init__(self, queue: WriteQueue) -> None:
        self._sql = queue.sql
        self._sql_each = queue.sql_each
        self._run_through = queue.run_through

    # --- logs

    async def create(self, vault: bytes, leaf: StoredLeaf) -> None:
        """Create a vault with its first leaf."""
        created = await self._sql(
            "INSERT INTO vaults (vault, size) VALUES (?, 1) ON CONFLICT DO NOTHING RETURNING 1",
            vault,
        )
        if not created:
            raise AlreadyExists("a vault of this id was created before")
        await self._insert(vault, [leaf])

    async def append(
        self, vault: bytes, size: int, leaves: Sequence[StoredLeaf], effects: Effects
    ) -> None:
        """Append leaves at a size, with all effects."""
        moved = await self._sql(
            "UPDATE vaults SET size = ? WHERE vault = ? AND size = ? RETURNING 1",
            *(size + len(leaves), vault, size),
        )
        if not moved:
            raise SizeMoved(
                size_in(await self._sql("SELECT size FROM vaults WHERE vault = ?", vault))
            )
        await self._insert(vault, leaves)
        await self._apply(vault, effects)

    async def _insert(self, vault: bytes, leaves: Sequence[StoredLeaf]) -> None:
        await self._sql_each(
            "INSERT INTO leaves (vault, leaf_index, leaf, observation, parts_size)"
            " VALUES (?, ?, ?, ?, ?)",
            [
                (
                    *(vault, leaf.index, leaf.leaf, leaf.observation),
                    sum(len(part.content or b"") for part in leaf.sides),
                )
                for leaf in leaves
            ],
        )
        parts = [(leaf.index, *each) for leaf in leaves for each in enumerate(leaf.sides)]
        there = [part.content for _, _, part in parts if part.content is not None]
        ids = iter(await self._stored(there))
        await self._sql_each(
            "INSERT INTO sides (vault, leaf_index, part, digest, content) VALUES (?, ?, ?, ?, ?)",
            [
                (vault, index, number, part.digest, None if part.content is None else next(ids))
                for index, number, part in parts
            ],
        )

    async def _stored(self, contents: Sequence[bytes]) -> range:
        """Store contents, and return their ids. No id comes twice: a doomed one is there still."""
        ((last,),) = await self._sql("SELECT COALESCE(MAX(id), 0) FROM contents")
        ids = range(last + 1, last + 1 + len(contents))
        await self._sql_each(
            f"INSERT INTO contents (id, filler, content) VALUES (?, zeroblob({FILLER_BYTES}), ?)",
            list(zip(ids, contents, strict=True)),
        )
        return ids

    async def _apply(self, vault: bytes, effects: Effects) -> None:
        for relied in effects.relies:
            await self._expect_staged(vault, relied)
        for publish in effects.publish:
            await self._publish(vault, publish)
        for rewrite in effects.rewrite:
            await self._rewrite(vault, rewrite)
        for upload in effects.hold_uploads:
            await self._hold(vault, upload)
        for upload in effects.drop_uploads:
            await self._drop("vault = ? AND upload = ? AND published = 0", vault, upload)
        for member in effects.drop_members:
            await self._drop("vault = ? AND member = ? AND published = 0", vault, member)
        for upload, under in effects.drop_staged:
            await self._drop_staged(vault, upload, under)
        await self._doom(vault, effects)
        await self._delete_parts(vault, effects.delete_parts)

    async def _expect_staged(self, vault: bytes, relied: Relied) -> None:
        its_own = await self._sql(STAGED.format("batches"), vault, relied.upload_id)
        anew = await self._sql(STAGED.format("made_anew"), vault, relied.upload_id)
        if not set(relied.manifests) <= {*its_own, *anew}:
            raise not_staged()
        for table in ("batches", "made_anew"):
            await self._sql_each(
                f"UPDATE {table} SET relied = 1 WHERE vault = ? AND upload = ? AND batch = ?",
                [(vault, relied.upload_id, batch) for batch, _ in relied.manifests],
            )

    async def _publish(self, vault: bytes, publish: Publish) -> None:
        upload = publish.upload_id
        its_own = await self._sql(STAGED.format("batches"), vault, upload)
        anew = await self._sql(STAGED.format("made_anew"), vault, upload)
        there = {batch for batch, _ in (*its_own, *anew)}
        named = set(publish.batch_ids)
        brought = await self._sql(
            "SELECT batch, field, digest FROM blocks WHERE vault = ? AND upload = ?", vault, upload
        )
        shown = {(key.batch_id, key.field, key.digest) for key in publish.shown}
        if not named or not named <= there or not shown <= {*brought}:
            raise not_staged()
        of_batch = "vault = ? AND upload = ? AND batch = ?"
        for table in ("batches", "made_anew"):
            await self._take_out(table, [(vault, upload, batch) for batch in there - named])
        # One that was made anew, and is what is there, stays what is there.
        await self._let_go(
            of_batch + " AND EXISTS"
            " (SELECT 1 FROM blocks AS other JOIN uploads USING (vault, upload)"
            " WHERE other.vault = blocks.vault AND other.batch = blocks.batch"
            " AND other.field = blocks.field AND other.digest = blocks.digest AND published = 1)",
            [(vault, upload, batch) for batch, _ in anew],
        )
        await self._sql(
            "UPDATE uploads SET published = 1 WHERE vault = ? AND upload = ?", *(vault, upload)
        )

    async def _rewrite(self, vault: bytes, rewrite: Rewrite) -> None:
        batch, field, digest = rewrite.key.batch_id, rewrite.key.field, rewrite.key.digest
        found = await self._sql(
            "SELECT upload, content FROM blocks JOIN uploads USING (vault, upload)"
            " WHERE vault = ? AND batch = ? AND field = ? AND digest = ? AND published = 1",
            *(vault, batch, field, digest),
        )
        if not found:
            raise not_staged()
        upload, content = found[0]
        await self._let_go("vault = ? AND batch = ? AND field = ?", [(vault, batch, field)])
        # What is erased is gone when the erasure has landed. Whatever else there was may be much.
        await self._sql("DELETE FROM contents WHERE id = ?", content)
        await self._insert_blocks(vault, upload, batch, [(field, rewrite.digest, rewrite.content)])

    async def _hold(self, vault: bytes, upload: bytes) -> None:
        # It may have expired since somebody looked; then its batches must not be relied upon.
        held = await self._sql(
            "UPDATE uploads SET held = 1"
            " WHERE vault = ? AND upload = ? AND published = 0 RETURNING 1",
            *(vault, upload),
        )
        if not held:
            raise not_staged()

    async def _doom(self, vault: bytes, effects: Effects) -> None:
        await self._let_go(
            "vault = ? AND batch = ? AND field = ? AND digest = ?"
            " AND EXISTS (SELECT 1 FROM uploads WHERE uploads.vault = blocks.vault"
            " AND uploads.upload = blocks.upload AND published = 1)",
            [(vault, key.batch_id, key.field, key.digest) for key in effects.doom],
        )
        await self._let_go(
            "vault = ? AND batch = ?", [(vault, batch) for batch in effects.doom_batches]
        )
        if effects.doom_all:
            await self._drop("vault = ? AND published = 0", vault)
            await self._let_go("vault = ?", [(vault,)])

    async def _let_go(self, which: str, rows: Sequence[Row]) -> None:
        """Take blocks out of their places; what they hold is doomed."""
        await self._sql_each(
            f"INSERT INTO doomed (content) SELECT content FROM blocks WHERE {which}", rows
        )
        await self._sql_each(f"DELETE FROM blocks WHERE {which}", rows)

    async def _drop(self, which: str, *values: object) -> int:
        """End uploads with all that they have; return how many there were."""
        found = await self._sql(f"SELECT vault, upload FROM uploads WHERE {which}", *values)
        await self._let_go("vault = ? AND upload = ?", found)
        await self._sql_each("DELETE FROM uploads WHERE vault = ? AND upload = ?", found)
        return len(found)

    async def _drop_staged(self, vault: bytes, upload: bytes, under: bytes) -> None:
        for table in ("batches", "made_anew"):
            found = await self._sql(
                f"SELECT vault, upload, batch FROM {table} WHERE vault = ? AND upload IN"
                " (SELECT upload FROM uploads WHERE vault = ? AND upload = ? AND published = 0)"
                " AND under = ? AND relied = 0",
                *(vault, vault, upload, under),
            )
            await self._take_out(table, found)

    async def _take_out(self, table: str, places: Sequence[Row]) -> None:
        """Take batches, as (vault, upload, batch), out of their uploads."""
        of_batch = "vault = ? AND upload = ? AND batch = ?"
        await self._let_go(of_batch, places)
        await self._sql_each(f"DELETE FROM {table} WHERE {of_batch}", places)

    async def _delete_parts(self, vault: bytes, parts: Sequence[tuple[int, int]]) -> None:
        which = "vault = ? AND leaf_index = ? AND part = ? AND content IS NOT NULL"
        places = [(vault, index, part) for index, part in parts]
        await self._sql_each(
            f"INSERT INTO doomed (content) SELECT content FROM sides WHERE {which}", places
        )
        await self._sql_each(f"UPDATE sides SET content = NULL WHERE {which}", places)
        await self._sql_each(
            "UPDATE leaves SET parts_size = (SELECT COALESCE(SUM(length(contents.content)), 0)"
            " FROM sides JOIN contents ON contents.id = sides.content"
            " WHERE sides.vault = leaves.vault AND sides.leaf_index = leaves.leaf_index)"
            " WHERE vault = ? AND leaf_index = ?",
            [(vault, index) for index in {index for index, _ in parts}],
        )

    # --- staging

    async def stage(self, upload: Row, batches: Sequence[ToStage]) -> tuple[bool, ...]:
        """Store batches; for each, False if it was there already."""
        await self._begin_staging(upload)
        vault, upload_id, *_ = upload
        is_new = []
        for batch in batches:
            staged = self._stage_anew if batch.anew else self._stage_new
            is_new.append(await staged(vault, upload_id, batch))
        return tuple(is_new)

    async def _stage_new(self, vault: bytes, upload: bytes, batch: ToStage) -> bool:
        known = await self._sql(
            "SELECT upload, digest FROM batches WHERE vault = ? AND batch = ?",
            *(vault, batch.batch_id),
        )
        if known:
            if known[0] != (upload, batch.digest):
                raise _used()
            return False
        await self._insert_batch("batches", (vault, upload, batch.batch_id), batch)
        return True

    async def _stage_anew(self, vault: bytes, upload: bytes, batch: ToStage) -> bool:
        """Store blocks of a published batch that were made anew.

        They take the place of other ones that this upload had for the batch, as long as the log
        names nothing of it: what they were made from may have changed.
        """
        published = await self._sql(
            "SELECT 1 FROM batches JOIN uploads USING (vault, upload)"
            " WHERE vault = ? AND batch = ? AND published = 1",
            *(vault, batch.batch_id),
        )
        if not published:
            raise _used()
        place = (vault, upload, batch.batch_id)
        known = await self._sql(
            "SELECT digest, held FROM made_anew JOIN uploads USING (vault, upload)"
            " WHERE vault = ? AND upload = ? AND batch = ?",
            *place,
        )
        if known and known[0][0] == batch.digest:
            return False
        if known and known[0][1]:
            raise _used()
        await self._take_out("made_anew", [place])
        await self._insert_batch("made_anew", place, batch)
        return True

    async def _insert_batch(self, table: str, place: Row, batch: ToStage) -> None:
        await self._sql(
            f"INSERT INTO {table} (vault, upload, batch, digest, size, under)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            *(*place, batch.digest, batch.size, batch.under),
        )
        vault, upload, _ = place
        await self._insert_blocks(vault, upload, batch.batch_id, batch.blocks)

    async def _insert_blocks(
        self, vault: bytes, upload: bytes, batch: bytes, blocks: Sequence[Block]
    ) -> None:
        ids = await self._stored([content for _, _, content in blocks])
        await self._sql_each(
            "INSERT INTO blocks (vault, batch, field, digest, upload, content)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [
                (vault, batch, field, digest, upload, content)
                for content, (field, digest, _) in zip(ids, blocks, strict=True)
            ],
        )

    async def _begin_staging(self, upload: Row) -> None:
        size_in(await self._sql("SELECT size FROM vaults WHERE vault = ?", upload[0]))
        usable = await self._sql(
            "INSERT INTO uploads (vault, upload, member, last_active) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (vault, upload)"
            " DO UPDATE SET last_active = MAX(last_active, excluded.last_active)"
            " WHERE published = 0 AND member = excluded.member RETURNING 1",
            *upload,
        )
        if not usable:
            raise Conflict("the upload was committed before, or is another member's")

    async def unstage(self, places: Sequence[Row]) -> None:
        """Take batches, as (vault, upload, batch), back out of their uploads.

        Passed over where an upload is published, or an append relied on the batch.
        """
        for table in ("batches", "made_anew"):
            for place in places:
                found = await self._sql(
                    f"SELECT vault, upload, batch FROM {table} JOIN uploads USING (vault, upload)"
                    " WHERE vault = ? AND upload = ? AND batch = ? AND published = 0"
                    " AND relied = 0",
                    *place,
                )
                await self._take_out(table, found)

    async def expire(self, vault: bytes, upload: bytes, before: int) -> int:
        """End an upload last active before a time; return how many went."""
        return await self._drop(
            "vault = ? AND upload = ? AND published = 0 AND held = 0 AND last_active < ?",
            *(vault, upload, before),
        )

    # --- what is to go

    async def sweep(self, max_bytes: int) -> int:
        """Delete some doomed contents; return how many are left."""
        found = await self._sql(
            "SELECT id, length(contents.content)"
            " FROM doomed JOIN contents ON contents.id = doomed.content ORDER BY id LIMIT ?",
            SWEPT_AT_ONCE,
        )
        swept: list[Row] = []
        room = max_bytes
        for number, size in found:
            if swept and size > room:
                break
            swept.append((number,))
            room -= size
        await self._sql_each("DELETE FROM contents WHERE id = ?", swept)
        return size_in(await self._sql("SELECT COUNT(*) FROM doomed"))

    async def give_back(self) -> bool:
        """Give some free pages back to the file system; say whether there is more to be had."""
        before = size_in(await self._sql("PRAGMA freelist_count"))
        await self._run_through(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
        return 0 < size_in(await self._sql("PRAGMA freelist_count")) < before

    async def empty_log(self) -> bool:
        """Write all that is in the write-ahead log where it belongs, and empty the log.

        Says whether that was possible: not while somebody reads what was there before.
        """
        await self._sql(f"PRAGMA busy_timeout = {CHECKPOINT_WAIT_MS}")
        try:
            ((busy, _, _),) = await self._sql("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            await self._sql(f"PRAGMA busy_timeout = {BUSY_WAIT_MS}")
        return not busy


def _used() -> Conflict:
    return Conflict("the batch id was used before, for something else, or is not there")


def not_staged() -> NotStaged:
    """Return the refusal of what is no longer, or never was, where an effect needs it."""
    return NotStaged("a batch is not staged", hint="upload it again, then commit")


def size_in(rows: list[Row]) -> int:
    """Return the one number of a query.

    Raises:
        UnknownVault: there is no row.
    """
    if not rows:
        raise UnknownVault("no vault has this id")
    return int(rows[0][0])
