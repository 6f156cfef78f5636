"""Reading what meets conditions: values are opened, verified, and compared on this machine alone.

The server learns which fields were fetched, as it always does, and nothing of the conditions.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import pyarrow as pa

from client.reading import Selection, read_batches, select_fields
from client.session import Session
from client.tables import Column, schema_of
from client.tables.where import Filter, parse_condition


@dataclass(slots=True)
class Matching:
    """Records of a collection to be read: what is opened for them, and what of it is given.

    If their numbers were asked for, `columns` begins with them.

    `records` and `batches` count what was opened so far, whether it met the conditions or not.
    """

    chosen: Selection
    columns: tuple[Column, ...]
    conditions: Filter | None
    records: int = field(default=0, init=False)
    batches: int = field(default=0, init=False)

    @property
    def whole(self) -> bool:
        """Whether every field of every record is given, in the collection's order."""
        every = tuple(range(len(self.chosen.where.classes)))
        given = len(self.columns) == len(self.chosen.columns)
        return self.conditions is None and given and self.chosen.numbers == every

    async def read(
        self, session: Session, limit: int | None
    ) -> AsyncGenerator[pa.RecordBatch, None]:
        """Yield the records that meet the conditions, `limit` of them at most.

        Raises: as `client.reading.read_batches`.
        """
        names = [column.name for column in self.columns]
        schema = schema_of(self.columns)
        left = limit
        # Without conditions the limit says which blocks are fetched; with them nobody knows.
        fetched = limit if self.conditions is None else None
        async with aclosing(read_batches(session, self.chosen, limit=fetched)) as batches:
            async for opened in batches:
                self.records += opened.num_rows
                self.batches += 1
                kept = opened if self.conditions is None else self.conditions.kept(opened)
                given = kept.select(names).slice(0, left)
                left = None if left is None else left - given.num_rows
                yield pa.record_batch(given.columns, schema=schema)
                if left == 0 and self.conditions is not None:
                    return


async def select_matching(
    session: Session,
    collection: bytes,
    fields: Sequence[str] | None,
    where: Sequence[str] = (),
    *,
    counted: bool = False,
) -> Matching:
    """Find the fields to give and those that conditions look at, each written as FIELD=VALUE.

    Raises:
        TableFormat: what is no condition, or a value that is none of its field's type.
        InputError, Refused, IntegrityError: as `client.reading.select_fields`.
    """
    chosen = await select_fields(session, collection, fields, counted=counted)
    columns, given = chosen.shown, [column.name for column in chosen.columns]
    if not where:
        return Matching(chosen, columns, None)
    known = [named.name for named in chosen.names.fields.values()]
    conditions = [parse_condition(text, known) for text in where]
    looked_at = dict.fromkeys(each.field for each in conditions if each.field not in given)
    if looked_at:
        chosen = await select_fields(session, collection, [*given, *looked_at], counted=counted)
    return Matching(chosen, columns, Filter(conditions, chosen.shown))
