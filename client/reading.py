"""Fetching, checking and opening a collection's records, in bounded memory (SPEC section 10.5)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Final

import pyarrow as pa

from client.catalogs import Names, read_names
from client.columns import Cells
from client.errors import InputError, Refused
from client.fetching import Arrived, as_known_now, fetch_batches, open_committed, refreshed
from client.likely import likely
from client.overlap import in_order
from client.session import Session
from client.tables import Column, cells_to_array, schema_of, type_from_text
from client.tables.arrow_types import value_type, varies_in_length
from client.tables.cells import taken
from protocol.blocks import Address, BlockRef
from protocol.errors import IntegrityError, MalformedMessage, ManifestMismatch, SealroomError
from protocol.ledger.contents import Batch, Collection
from protocol.ledger.parties import MemberStatus

ASK: Final = "Ask the owner, or an admin, to grant it to you."
RECORD: Final = "record"
"""What the column of record numbers is called."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which fields of a collection to read: their numbers, names and Arrow types.

    If `counted`, a first column says each record's number, by which it can be erased.
    """

    where: Collection
    names: Names
    numbers: tuple[int, ...]
    columns: tuple[Column, ...]
    counted: bool = False

    @property
    def shown(self) -> tuple[Column, ...]:
        """The columns that a reader gets."""
        return (*((Column(RECORD, "int64"),) if self.counted else ()), *self.columns)


async def select_fields(
    session: Session, collection: bytes, fields: Sequence[str] | None, *, counted: bool = False
) -> Selection:
    """Find the named fields, or all that this member may read.

    Raises:
        InputError: no field of that name among those whose names this member may know; none,
            or one twice; or one is called as the column of record numbers would be.
        Refused: a field that was not granted, or none at all; or nothing was committed yet.
        IntegrityError: a field without a name, or two of one name.
    """
    where = session.state.collections[collection]
    if not where.batches:
        raise Refused(
            "nothing was committed to it yet",
            code="out_of_order",
            hint="Its upload was interrupted: the same command goes on with it.",
        )
    names = await read_names(session, collection)
    numbers = _numbers(session, where, names, fields)
    if not numbers:
        raise _nothing_granted(session)
    columns = []
    for number in numbers:
        named = names.fields.get(number)
        if named is None:
            raise names.failure or IntegrityError(f"the catalog does not name field {number}")
        columns.append(Column(named.name, named.type))
    if counted and any(column.name == RECORD for column in columns):
        raise InputError(f"a field is called {RECORD!r} itself", hint="Name the others.")
    return Selection(where, names, numbers, tuple(columns), counted)


def _nothing_granted(session: Session) -> Refused:
    me = session.state.members.get(session.identity.member_id)
    if me is not None and me.status is MemberStatus.UNCONFIRMED:
        return Refused(
            "you are not confirmed yet, and so hold no keys",
            code="not_granted",
            hint="Read the twelve words to the owner or an admin, who then confirms you: "
            "'sealroom members' shows them.",
        )
    return Refused("you were granted no field of it", code="not_granted", hint=ASK)


def _numbers(
    session: Session, where: Collection, names: Names, fields: Sequence[str] | None
) -> tuple[int, ...]:
    if fields is None:
        every = range(len(where.classes))
        return tuple(number for number in every if session.may_open(where.id, number))
    by_name = {named.name: number for number, named in names.fields.items()}
    if len(by_name) != len(names.fields):
        raise IntegrityError("the catalogs give two fields one name")
    if not fields or len(set(fields)) != len(fields):
        raise InputError("no field is named, or one twice", hint="Name each field once.")
    for name in fields:
        if name not in by_name:
            raise _unknown_field(where, names, name)
        if not session.may_open(where.id, by_name[name]):
            raise Refused(
                f"you were not granted the field {name!r}",
                code="not_granted",
                hint=ASK,
            )
    return tuple(by_name[name] for name in fields)


def _unknown_field(where: Collection, names: Names, name: str) -> SealroomError:
    """Say that a name is wrong, or may be one of those that were not granted."""
    if names.failure is not None:
        return names.failure
    listed = [named.name for named in names.fields.values()]
    known = ", ".join(listed) or "none"
    hidden = len(where.classes) - len(names.fields)
    if hidden:
        return Refused(
            f"no field {name!r} among those you were granted; {hidden} others are closed to you",
            code="not_granted",
            hint=likely(name, listed, f"You may know: {known}. {ASK}"),
        )
    return InputError(
        f"there is no field {name!r}", hint=likely(name, listed, f"There are: {known}.")
    )


async def read_batches(
    session: Session, chosen: Selection, *, limit: int | None = None
) -> AsyncGenerator[pa.RecordBatch, None]:
    """Yield the chosen fields of every record in commit order, each batch wholly verified.

    A batch is handed on only when all of its blocks have the committed hashes and every cell
    opened. That no batch is missing follows from the replayed commits, not from the server.

    Raises:
        InputError: a limit below zero.
        ManifestMismatch: a block is not the committed one.
        Refused: records were erased meanwhile (`changed`).
        IntegrityError: a cell that does not open, or is not of the type its writer recorded.
        Refused, Unreachable: from the transport.
    """
    if limit is not None and limit < 0:
        raise InputError(f"a limit of {limit} records")
    left, wanted = limit, batches_of(chosen, limit)
    firsts = first_records(chosen.where)
    while wanted:
        # What somebody else's sync has learned since is known; old keys may be gone with it.
        wanted = as_known_now(session, chosen.where.id, wanted)
        try:
            async with aclosing(_opened_batches(session, chosen, wanted)) as opened:
                async for rows in opened:
                    batch, wanted = wanted[0], wanted[1:]
                    if chosen.counted:
                        rows = rows.add_column(0, RECORD, _record_numbers(firsts[batch.id], batch))
                    cut, left = _cut(rows, left)
                    yield cut
        except ManifestMismatch as error:
            wanted = await refreshed(session, chosen.where.id, wanted, error)


def _opened_batches(
    session: Session, chosen: Selection, wanted: Sequence[Batch]
) -> AsyncGenerator[pa.RecordBatch, None]:
    """Yield each batch once all of it is verified; some are opened while the next ones arrive."""
    listed = [(batch, ref) for batch in wanted for ref in refs_of(batch, chosen.numbers)]
    keys = _keys(session, chosen, wanted)
    arriving = fetch_batches(session, chosen.where.id, listed)
    return in_order(arriving, partial(_opened, chosen, keys))


def batches_of(chosen: Selection, limit: int | None) -> list[Batch]:
    """Return the batches of data that have records, as many as it takes for the limit."""
    found: list[Batch] = []
    records = 0
    for batch in chosen.where.batches:
        if limit is not None and records >= limit:
            break
        if not batch.manifest.is_catalog and batch.records:
            found.append(batch)
            records += batch.records
    return found


def refs_of(batch: Batch, numbers: Sequence[int]) -> list[BlockRef]:
    """Return which blocks of a batch hold these fields."""
    return [ref for ref in batch.manifest.blocks if ref.field in numbers]


def _keys(session: Session, chosen: Selection, wanted: Sequence[Batch]) -> dict[Address, bytes]:
    """Open every key that is needed, before the first block is fetched."""
    addresses = {
        Address(chosen.where.id, ref.field, ref.epoch)
        for batch in wanted
        for ref in refs_of(batch, chosen.numbers)
    }
    return {address: session.key(address).key.expose() for address in sorted(addresses)}


def _opened(chosen: Selection, keys: dict[Address, bytes], arrived: Arrived) -> pa.RecordBatch:
    arrays, batch = [], arrived.batch
    sealed = {ref.field: (ref, block) for ref, block in arrived.blocks}
    for number, column in zip(chosen.numbers, chosen.columns, strict=True):
        ref, block = sealed[number]
        cells = open_cells(chosen.where, keys, batch, ref, block, column.type)
        try:
            arrays.append(cells_to_array(cells, column.type))
        except MalformedMessage as error:
            raise IntegrityError(
                f"batch {batch.id.hex()}: field {column.name!r} holds what is no {column.type}"
            ) from error
    rows = pa.RecordBatch.from_arrays(arrays, schema=schema_of(chosen.columns))
    return rows if not batch.erased else taken(rows, pa.array(_kept_rows(batch), pa.int64()))


def _kept_rows(batch: Batch) -> list[int]:
    return [row for row in range(batch.manifest.records) if row not in batch.erased]


def open_cells(
    where: Collection,
    keys: dict[Address, bytes],
    batch: Batch,
    ref: BlockRef,
    block: bytes,
    type_text: str,
) -> Cells:
    """Open one block with the key of its epoch; raises as `open_committed`."""
    key = keys[Address(where.id, ref.field, ref.epoch)]
    varies = varies_in_length(value_type(type_from_text(type_text)))
    return open_committed(key, where, batch, ref, block, varies)


def first_records(where: Collection) -> dict[bytes, int]:
    """Return the number of each batch's first record, from 1: what was erased keeps its number."""
    data = [batch for batch in where.batches if not batch.manifest.is_catalog]
    counts = (batch.manifest.records for batch in data)
    return dict(zip((batch.id for batch in data), accumulate(counts, initial=1), strict=False))


def _record_numbers(first: int, batch: Batch) -> pa.Array:
    return pa.array([first + row for row in _kept_rows(batch)], pa.int64())


def _cut(batch: pa.RecordBatch, left: int | None) -> tuple[pa.RecordBatch, int | None]:
    if left is None:
        return batch, None
    return batch.slice(0, left), max(0, left - batch.num_rows)
