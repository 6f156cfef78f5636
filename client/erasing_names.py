"""Erasing what a member wrote for names of people, and nobody goes by (SPEC sections 7.4, 9.5).

Any admin can write there, names of parties that are not there too, as many as it likes; every
client of an owner or an admin fetches and opens all of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from client.catalogs import (
    NAME_CHARACTERS,
    Givers,
    People,
    Row,
    expect_all,
    read_people,
    read_rows,
)
from client.erasing import Positions
from client.session import Session
from protocol.blocks import PEOPLE_COLLECTION, PEOPLE_FIELD
from protocol.encoding import Value


async def idle_names(session: Session, author: bytes) -> Positions:
    """Return what this author (or who it was before) wrote that no client goes by any more.

    Of what counts, and is said several times by this author, the last time stays.

    Raises:
        ManifestMismatch: the server sent a block that is not the committed one.
        Refused: the vault is frozen, and this home does not have all of them.
    """
    where = session.state.collections[PEOPLE_COLLECTION]
    found = await read_rows(session, where, PEOPLE_FIELD)
    expect_all(found.missing)
    authors = session.state.lineage(author)
    people, givers = await read_people(session), Givers(session.state)
    last: dict[_Said, Row] = {}
    for row in found.rows:
        if row.batch.author in authors:
            last |= dict.fromkeys(_counting(row, people, givers), row)
    kept = {(row.batch.id, row.position) for row in last.values()}
    where = session.state.collections[PEOPLE_COLLECTION]
    idle = {
        batch.id: frozenset(
            position
            for position in range(batch.manifest.records)
            if (batch.id, position) not in kept
        )
        for batch in where.batches
        if batch.author in authors
    }
    return {batch: positions for batch, positions in idle.items() if positions}


_Said = tuple[str, bytes | None]
"""Of what kind something is that a row says, and of which party."""


def _counting(row: Row, people: People, givers: Givers) -> list[_Said]:
    """Return what counts of all that a row says: what clients go by, and by an author like this."""
    author, values = row.batch.author, row.values
    said: list[_Said] = []
    if givers.owns(author) and _words(values, "title") == people.title is not None:
        said.append(("title", None))
    party = values.get("party")
    if isinstance(party, bytes) and (by := givers.names(author, party)) is not None:
        for kind, known in (("name", people.names), ("note", people.notes)):
            if (given := known.get(party)) and given == (by, _words(values, kind)):
                said.append((kind, party))
    return said


def _words(values: Mapping[str, Value], kind: str) -> str | None:
    words = values.get(kind)
    return words[:NAME_CHARACTERS] if isinstance(words, str) else None
