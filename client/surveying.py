"""What an update by a key will do: which rows are new, which records differ, in which acts.

Nothing is sent here. What is there is looked up by opening the key's column, not by asking the
server, so that nothing it stores or is asked tells which keys are looked for (docs/adr/0019).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from client.appending import collection_named, fitted
from client.erasing import ACT_ROOM, emptied_block
from client.errors import InputError
from client.fetching import fetch_blocks
from client.likely import likely
from client.parts import in_parts
from client.plans import Plan
from client.reading import (
    Selection,
    batches_of,
    first_records,
    open_cells,
    read_batches,
    select_fields,
)
from client.results.progress import OnProgress, Progress
from client.row_hashes import MOST_NAMED, Digests, Hashes, Same, as_arrow, joined, listed
from client.session import Session
from client.tables import column_cells, type_from_text
from client.tables.arrow_types import value_type
from client.tables.combining import Chosen
from protocol.acts import EmptiedBlock, Erasure
from protocol.blocks import Address, BlockRef, manifest_bytes_at_most, verify_block
from protocol.ledger.contents import Batch, Collection
from protocol.limits import LIMITS
from protocol.wire import to_bytes

Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """What one act does: which records it erases, and which rows of the table stand for them."""

    erasures: tuple[Erasure, ...]
    rows: Numbers


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What an update will do: `new` says which rows have keys that are not there.

    `seen` are the uploads that were looked at; to them come those that do what it says.
    """

    plan: Plan
    collection: bytes
    new: Flags
    groups: tuple[Group, ...]
    unchanged: int
    seen: set[bytes]

    @property
    def replaced(self) -> int:
        """How many records are to be replaced."""
        return sum(len(group.rows) for group in self.groups)

    def uploads(self) -> Iterator[Plan]:
        """Yield the uploads that do it, each of which lands whole.

        It is one where one act holds it; else the new rows go first, and each group by itself.
        """
        if len(self.groups) <= 1:
            rows = self.new.copy()
            for group in self.groups:
                rows[group.rows] = True
            if rows.any():
                yield self._of(rows, *self.groups)
            return
        if self.new.any():
            yield self._of(self.new)
        for group in self.groups:
            rows = np.zeros(len(self.new), np.bool_)
            rows[group.rows] = True
            yield self._of(rows, group)

    def _of(self, rows: Flags, *groups: Group) -> Plan:
        erasures = tuple(each for group in groups for each in group.erasures)
        return replace(
            self.plan,
            source=Chosen(self.plan.source, rows),
            erasures=erasures,
            seen=self.seen,
            again=True,
        )


# --- what is there


async def surveyed(
    session: Session, plan: Plan, key: str, on_progress: OnProgress
) -> Survey | None:
    """Say what an update will do; None where there is no collection yet. Nothing is sent.

    Raises: as `replace_records`.
    """
    there = await collection_named(session, plan.collection)
    if there is not None:
        plan = fitted(session, plan, *there)
    at = _key_column(plan, key)
    hashes = Hashes(at)
    keys, rows = await hashes.of_table(plan.source, key, plan.batch_rows, on_progress)
    if there is None:
        return None
    where = there[0]
    chosen = await select_fields(session, where.id, None)
    found = await _Found.look(session, chosen, hashes, keys, key, on_progress)
    if plan.source.fingerprint() is None:
        plan = replace(plan, source=Same(plan.source, hashes, rows))
    new = np.ones(len(rows), np.bool_)
    new[found.rows] = False
    async with aclosing(_compared(session, chosen, found, hashes, rows, on_progress)) as compared:
        groups = _groups([each async for each in compared], len(where.classes))
    changed_rows = sum(len(group.rows) for group in groups)
    seen = {batch.upload for batch in where.batches}
    return Survey(plan, where.id, new, groups, len(found.rows) - changed_rows, seen)


def _key_column(plan: Plan, key: str) -> int:
    names = [column.name for column in plan.source.columns]
    if key not in names:
        raise InputError(
            f"the table has no column {key!r} to tell records by",
            hint=likely(key, names, f"It has: {', '.join(names)}."),
        )
    kind = value_type(type_from_text(plan.source.columns[names.index(key)].type))
    if pa.types.is_floating(kind) or pa.types.is_null(kind) or pa.types.is_boolean(kind):
        raise InputError(
            f"{key!r} is {kind}, which tells no records apart",
            hint="Name a column of texts, whole numbers, decimals or dates.",
        )
    return names.index(key)


@dataclass(frozen=True, slots=True)
class _Found:
    """Records whose keys are in the table: their batch (in the order of `batches`), place, row."""

    batches: tuple[Batch, ...]
    at: Numbers
    positions: Numbers
    rows: Numbers

    @classmethod
    async def look(
        cls,
        session: Session,
        chosen: Selection,
        hashes: Hashes,
        keys: Digests,
        key: str,
        on_progress: OnProgress,
    ) -> _Found:
        """Open the column of keys, and look up each of them in the table.

        Raises:
            InputError: several records have one key of the table; their numbers are told.
        """
        only = await select_fields(session, chosen.where.id, [key])
        batches = tuple(batches_of(only, None))
        held: list[Digests] = []
        done = 0
        async with aclosing(read_batches(session, only)) as opened:
            async for rows in opened:
                held.append(await asyncio.to_thread(hashes.of_keys, column_cells(rows.column(0))))
                done += rows.num_rows
                on_progress(Progress("opening the keys", done, only.where.records, "records"))
        there = [_left(batch) for batch in batches]
        at = np.repeat(np.arange(len(batches)), [len(each) for each in there])
        positions = np.concatenate([np.empty(0, np.int64), *there])
        matched = pc.index_in(as_arrow(joined(held)), value_set=as_arrow(keys))
        known = np.flatnonzero(np.asarray(matched.is_valid()))
        rows = np.asarray(matched.fill_null(0), np.int64)[known]
        found = cls(batches, at[known], positions[known], rows)
        found._expect_once(only.where, key)
        return found

    def _expect_once(self, where: Collection, key: str) -> None:
        counts = np.bincount(self.rows, minlength=1)
        doubled = np.flatnonzero(counts > 1)
        if not len(doubled):
            return
        firsts = first_records(where)
        told = []
        for row in doubled[:MOST_NAMED]:
            its = np.flatnonzero(self.rows == row)
            numbers = (firsts[self.batches[self.at[i]].id] + int(self.positions[i]) for i in its)
            told.append(f"records {listed(numbers)}")
        raise InputError(
            f"{len(doubled):,} values of {key!r} are there more than once in the collection: "
            f"{'; '.join(told)}{'; ...' if len(doubled) > MOST_NAMED else ''}",
            hint="Nothing was sent. 'sealroom erase NAME --records N' removes what is too much; "
            "or tell records by another column.",
        )


def _left(batch: Batch) -> Numbers:
    """Return the positions of a batch that are not erased."""
    kept = np.ones(batch.manifest.records, np.bool_)
    kept[list(batch.erased)] = False
    return np.flatnonzero(kept)


# --- what differs


class _Changed(NamedTuple):
    """What is to be erased of a batch, from blocks of so many bytes, and the rows in its place."""

    erasure: Erasure
    block_bytes: int
    rows: Numbers


async def _compared(
    session: Session,
    chosen: Selection,
    found: _Found,
    hashes: Hashes,
    rows: Digests,
    on_progress: OnProgress,
) -> AsyncGenerator[_Changed, None]:
    """Yield what is to be erased of each batch with records that differ.

    Of each batch with a matched record all blocks are fetched, which erasing takes anyway.
    """
    order = np.argsort(found.at, kind="stable")
    touched = [found.batches[at] for at in dict.fromkeys(found.at[order].tolist())]
    cuts = np.flatnonzero(np.diff(found.at[order])) + 1
    listed = [(batch, ref) for batch in touched for ref in batch.manifest.blocks]
    keys = {
        address: session.key(address).key.expose()
        for address in {Address(chosen.where.id, ref.field, ref.epoch) for _, ref in listed}
    }
    done = 0
    async with aclosing(fetch_blocks(session, chosen.where.id, listed)) as stream:
        for batch, its in zip(touched, np.split(order, cuts) if touched else (), strict=True):
            blocks = [(ref, (await anext(stream))[2]) for ref in batch.manifest.blocks]
            differing = await asyncio.to_thread(
                _differing, chosen, keys, batch, blocks, hashes, found.positions[its],
                rows[found.rows[its]],
            )  # fmt: skip
            if differing.any():
                gone = found.positions[its][differing]
                emptied = await asyncio.to_thread(_emptied, batch, blocks, gone)
                erasure = Erasure(batch.id, tuple(sorted(gone.tolist())), emptied)
                size = sum(ref.length for ref, _ in blocks)
                yield _Changed(erasure, size, found.rows[its][differing])
            done += len(its)
            on_progress(Progress("comparing", done, len(order), "records"))
        await anext(stream, None)


def _differing(
    chosen: Selection,
    keys: dict[Address, bytes],
    batch: Batch,
    blocks: Sequence[tuple[BlockRef, bytes]],
    hashes: Hashes,
    positions: Numbers,
    wanted: Digests,
) -> Flags:
    cells = []
    for (ref, block), column in zip(blocks, chosen.columns, strict=True):
        verify_block(ref, block)
        cells.append(open_cells(chosen.where, keys, batch, ref, block, column.type))
    held = hashes.of_rows(cells)[positions]
    differing: Flags = (held != wanted).any(axis=1)
    return differing


def _emptied(
    batch: Batch, blocks: Sequence[tuple[BlockRef, bytes]], gone: Numbers
) -> tuple[EmptiedBlock, ...]:
    positions = batch.erased | set(gone.tolist())
    return tuple(emptied_block(batch, ref, block, positions) for ref, block in blocks)


def _groups(changed: Iterable[_Changed], fields: int) -> tuple[Group, ...]:
    """Cut erasures into acts, within the limits on blocks and on an act with a manifest."""
    room = ACT_ROOM - manifest_bytes_at_most(fields)
    most = (LIMITS.erase_bytes, room, LIMITS.act_batches)

    def weigh(each: _Changed) -> tuple[int, ...]:
        return each.block_bytes, len(to_bytes(each.erasure)), 1

    return tuple(
        Group(
            tuple(sorted((each.erasure for each in part), key=to_bytes)),
            np.concatenate([each.rows for each in part]),
        )
        for part in in_parts(changed, weigh, most)
    )
