"""Erasing what a member wrote for names of people, and nobody goes by (SPEC sections 7.4, 9.5).

Any admin can write there, names of parties that are not there too, as many as it likes; every
client of an owner or an admin fetches and opens all of it.
"""

from __future__ import annotations

from client.catalogs import NAME_CHARACTERS, Row, expect_all, read_people, read_rows
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
    in_force = await _in_force(session)
    last: dict[tuple[str, Value, Value], Row] = {}
    for row in found.rows:
        if row.batch.author in authors:
            last |= {each: row for each in _said(row) if each in in_force}
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


async def _in_force(session: Session) -> set[tuple[str, Value, Value]]:
    people = await read_people(session)
    return {
        ("title", None, people.title),
        *(("name", party, name) for party, name in people.names.items()),
        *(("note", party, note) for party, note in people.notes.items()),
    }


def _said(row: Row) -> list[tuple[str, Value, Value]]:
    """Return what a row says: of what kind, of which party, and the words."""
    party, values = row.values.get("party"), row.values
    of = party if isinstance(party, bytes) else b""
    said: list[tuple[str, Value, Value]] = []
    for kind, whom in (("title", None), ("name", of), ("note", of)):
        words = values.get(kind)
        if isinstance(words, str):
            said.append((kind, whom, words[:NAME_CHARACTERS]))
    return said
