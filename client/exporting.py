"""Records into a file that has its name only when verified, or batch by batch to a caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from client.filtering import Matching, select_matching
from client.reading import batches_of, refs_of
from client.results.data import ReadResult
from client.results.progress import OnProgress, Progress
from client.session import Session
from client.tables import WriteOptions, open_sink
from client.tables.options import AS_IT_CAME
from protocol.errors import IntegrityError


async def export(
    session: Session,
    collection: bytes,
    *,
    fields: Sequence[str] | None,
    limit: int | None,
    path: Path | None,
    overwrite: bool,
    on_batch: Callable[[pa.RecordBatch], None],
    on_progress: OnProgress,
    counted: bool = False,
    where: Sequence[str] = (),
    options: WriteOptions = AS_IT_CAME,
) -> ReadResult:
    """Read a collection into a file, or batch by batch into `on_batch`.

    The file gets its name only when everything in it was verified; until then, and after any
    failure, there is none. Lines that stood above and below a table come back with all of it.

    Raises:
        TableError: the file is there already, or cannot hold a column or a cell.
        InputError, VerificationFailed, Refused, Unreachable: as `read_batches`.
    """
    started = time.monotonic()
    match = await select_matching(session, collection, fields, where, counted=counted)
    chosen = match.chosen
    total = chosen.where.records
    if limit is not None and not where:
        total = min(limit, total)
    table_format: Any = chosen.names.format
    sink = None
    if path is not None:
        whole = match.whole and limit is None
        sink = open_sink(
            path,
            match.columns,
            table_format,
            overwrite=overwrite,
            options=replace(options, whole=whole),
        )
    records = 0
    try:
        async with aclosing(match.read(session, limit)) as batches:
            async for batch in batches:
                if sink is None:
                    on_batch(batch)
                else:
                    await to_the_end(sink.write, batch)
                records += batch.num_rows
                on_progress(Progress("fetching and opening", match.records, total, "records"))
        if match.records != total and not (where and records == limit):
            raise IntegrityError(f"{match.records} records opened where {total} were committed")
        if sink is not None:
            await to_the_end(sink.commit)
    except BaseException:
        if sink is not None:
            sink.abort()
        raise
    return ReadResult(
        collection=chosen.names.name or collection.hex(),
        records=records,
        fields=tuple(column.name for column in match.columns),
        cells=records * len(match.columns),
        fetched_bytes=_fetched(match),
        seconds=time.monotonic() - started,
        path=None if path is None else str(path),
        notes=() if sink is None else sink.notes,
    )


def _fetched(match: Matching) -> int:
    """Count the bytes of the blocks that were opened."""
    opened = batches_of(match.chosen, None)[: match.batches]
    return sum(ref.length for batch in opened for ref in refs_of(batch, match.chosen.numbers))


async def to_the_end(write: Callable[..., None], *args: object) -> None:
    """Write in a thread, and wait for it when cancelled too: `abort` must not cut in on it."""
    writing = asyncio.ensure_future(asyncio.to_thread(write, *args))
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.gather(writing, return_exceptions=True)
        raise
