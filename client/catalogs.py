"""Names: what people call members, collections and fields, sealed in catalogs (SPEC section 7.4).

A catalog is a field like any other; each of its cells is one map in the one encoding. Later
cells override earlier ones. Blocks of catalogs are kept in this home as they came, sealed; a
session opens each once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple

from client.columns import Cells
from client.crypto.cells import ColumnToSeal, SealedBatch, seal_batch
from client.errors import Refused
from client.fetching import fetch_blocks, open_committed
from client.journals import JournalledUpload
from client.naming import Naming
from client.seen import exchanged
from client.session import Session
from client.tables.type_texts import is_type_text
from protocol import acts
from protocol.blocks import (
    PEOPLE_COLLECTION,
    PEOPLE_FIELD,
    Address,
    BlockRef,
    FieldClass,
    catalog_class,
    verify_block,
)
from protocol.encoding import Value, decode, encode
from protocol.errors import (
    CommitmentMismatch,
    Frozen,
    IntegrityError,
    ManifestMismatch,
    NotFound,
    SealroomError,
    WeakKey,
)
from protocol.ledger.contents import Batch, Collection
from protocol.ledger.state import State
from protocol.limits import LIMITS

NAME_CHARACTERS: Final = 500
FIELDS_A_ROW: Final = 200
"""So many names of fields, each up to the limit of a text, fit in one cell."""


@dataclass(frozen=True, slots=True)
class NamedField:
    """A field's name and Arrow type, as its writer recorded them."""

    name: str
    type: str


@dataclass(slots=True)
class Names:
    """What this member may know of one collection's names.

    `failure` is why a committed row did not open, for whoever then misses a name. With `missing`
    not every row is here: what they would have said is not known.
    """

    name: str | None = None
    file: str | None = None
    title: str | None = None
    format: Mapping[str, Any] | None = None
    fields: dict[int, NamedField] = field(default_factory=dict)
    failure: SealroomError | None = None
    missing: Refused | None = None


class Giver(IntEnum):
    """Who gave a name: of several, the highest counts."""

    ITSELF = 0
    INVITER = 1
    OWNER = 2


class Given(NamedTuple):
    """Words that a row says of a party, and as whom its author said them."""

    by: Giver
    words: str


@dataclass(slots=True)
class People:
    """What the people catalog says: the vault's title, and names and notes by party id.

    With `missing` not every row is here.
    """

    title: str | None = None
    names: dict[bytes, Given] = field(default_factory=dict)
    notes: dict[bytes, Given] = field(default_factory=dict)
    missing: Refused | None = None


async def read_people(session: Session) -> People:
    """Return the people catalog, empty for whoever does not hold it.

    Any admin can write to it, so a row counts only from somebody who may name its party: the
    owner (or a former one), whoever invited it, or itself, the first of these before the others.
    Otherwise an admin could give its own puppet the name of somebody else's bidder, and wait for
    the owner to grant by name; or take back a name that the owner gave.

    Raises:
        ManifestMismatch: the server sent a block that is not the committed one.
    """
    state = session.state
    found = await read_rows(session, state.collections[PEOPLE_COLLECTION], PEOPLE_FIELD)
    people, givers = People(missing=found.missing), Givers(state)
    for each in found.rows:
        author, row = each.batch.author, each.values
        if givers.owns(author):
            people.title = _text(row, "title") or people.title
        party = row.get("party")
        by = givers.names(author, party) if isinstance(party, bytes) else None
        if isinstance(party, bytes) and by is not None:
            _give(people.names, party, by, _text(row, "name"))
            _give(people.notes, party, by, _text(row, "note"))
    return people


def _give(known: dict[bytes, Given], party: bytes, by: Giver, words: str | None) -> None:
    """Let words override what somebody of the same rank, or of a lower one, said before."""
    if words and (party not in known or by >= known[party].by):
        known[party] = Given(by, words)


class Givers:
    """Who may say what in the people catalog, by the log as it is."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._owners = {*state.lineage(state.owner)}
        self._owners.update(*(state.lineage(each.seller) for each in state.handovers))

    def owns(self, author: bytes) -> bool:
        """Say whether an author is the owner, or was."""
        return author in self._owners

    def names(self, author: bytes, party: bytes) -> Giver | None:
        """Return as whom an author names a party, under any of its ids; None if it may not."""
        if self.owns(author):
            return Giver.OWNER
        member = self._state.members.get(party)
        invite = self._state.invites.get(party if member is None else member.invite or party)
        if invite is not None and author in self._state.lineage(invite.inviter):
            return Giver.INVITER
        return Giver.ITSELF if author in self._state.lineage(party) else None


def name_of(state: State, people: People, party: bytes) -> str | None:
    """Return what a party is called: by its own id, by one that it replaced, or as its invite.

    Of these ids the one counts whose name was given by the highest.
    """
    member = state.members.get(party)
    invite = () if member is None or member.invite is None else (member.invite,)
    ids = (*state.lineage(party), *invite)
    given = [people.names[each] for each in ids if each in people.names]
    return max(given, key=lambda each: each.by).words if given else None


async def read_names(session: Session, collection: bytes) -> Names:
    """Return the names of those classes of a collection whose catalogs this member holds.

    A row counts only from somebody who may name the collection (`client.naming`).

    Raises:
        ManifestMismatch: as `read_people`.
    """
    names = Names()
    where = session.state.collections.get(collection)
    if where is None:
        return names  # it was retired since the caller looked
    for number in where.catalogs:
        found = await read_rows(session, where, number)
        names.failure = names.failure or found.failure
        names.missing = names.missing or found.missing
        naming = Naming(session.state, session.state.collections.get(collection, where))
        for row in (each.values for each in found.rows if naming.counts(each.batch)):
            names.name = _text(row, "collection") or names.name
            names.file = _text(row, "file") or names.file
            names.title = _text(row, "title") or names.title
            table_format = row.get("format")
            if isinstance(table_format, dict):
                names.format = _merged(names.format, table_format)
            for each in _listed(row, "fields"):
                _add_field(names, where, catalog_class(number), each)
    return names


def names_in_journal(session: Session, begun: JournalledUpload) -> Names:
    """Return what an upload that is under way from this home calls its table, as far as it opens.

    This home kept its catalogs as it sealed them for the server: names lie in no file unsealed.
    """
    names, where = Names(), session.state.collections.get(begun.collection)
    for manifest in session.store.uploads.batches(begun.upload).values():
        ref = manifest.blocks[0]
        block = session.store.block(manifest.batch_id, ref.field) if manifest.is_catalog else None
        if where is None or block is None:
            continue
        try:
            verify_block(ref, block)
            batch = Batch(manifest, begun.upload, 0, session.identity.member_id)
            rows = _rows(batch, _opened(session, where, batch, ref, block))
        except SealroomError as error:
            names.failure = names.failure or error
            continue
        for row in (each.values for each in rows):
            names.name = _text(row, "collection") or names.name
            names.file = _text(row, "file") or names.file
    return names


def _merged(known: Mapping[str, Any] | None, newer: Mapping[str, Any]) -> dict[str, Any]:
    """Let a format override an older one, but for its maps: each class has a part of those."""
    merged = dict(newer)
    for key, value in (known or {}).items():
        if isinstance(value, dict) and isinstance(newer.get(key), dict):
            merged[key] = value | newer[key]
    return merged


def collection_rows(
    *,
    title: str,
    collection: str,
    file: str | None,
    table_format: Mapping[str, Value],
    fields: Mapping[int, NamedField],
) -> list[dict[str, Value]]:
    """Return the rows that a class catalog gets: what the table is called, and its own fields."""
    listed: list[Value] = [[n, named.name, named.type] for n, named in sorted(fields.items())]
    first: dict[str, Value] = {
        "title": title,
        "collection": collection,
        "file": file or "",
        "format": dict(table_format),
        "fields": listed[:FIELDS_A_ROW],
    }
    rest = range(FIELDS_A_ROW, len(listed), FIELDS_A_ROW)
    rows: list[dict[str, Value]] = [{"fields": listed[at : at + FIELDS_A_ROW]} for at in rest]
    return [first, *rows]


def person_row(
    party: bytes, name: str, *, title: str | None = None, note: str | None = None
) -> dict[str, Value]:
    """Return the row that names a member, an invite or a removal in the people catalog."""
    row: dict[str, Value] = {"party": party, "name": name}
    if title:
        row["title"] = title
    if note:
        row["note"] = note
    return row


def seal_rows(
    session: Session, address: Address, rows: Sequence[Mapping[str, Value]]
) -> SealedBatch:
    """Seal rows as one catalog batch under an epoch that takes commits."""
    where = session.state.collections[address.collection]
    cells = Cells.from_list([encode(dict(row)) for row in rows], string_like=True)
    column = ColumnToSeal(
        address.field,
        address.epoch,
        where.class_of(address.field),
        session.key(address).key.expose(),
        cells,
    )
    return seal_batch([column])


@dataclass(frozen=True, slots=True)
class Row:
    """A readable cell of a catalog: what it says, and where it stands."""

    batch: Batch
    position: int
    values: Mapping[str, Value]


class Rows(NamedTuple):
    """Rows of a catalog, in commit order.

    `failure` is why some of it did not open. `missing` is the refusal of a vault that is frozen, as
    its log says, where this home does not have all of it: then nothing may be concluded of
    what is not there.
    """

    rows: list[Row]
    failure: SealroomError | None
    missing: Refused | None


def expect_all(missing: Refused | None) -> None:
    """Check that nothing is missing before something is looked for by its name.

    Another of that name could be among what is not here, or the one that is meant.

    Raises:
        Refused: something is.
    """
    if missing is not None:
        raise Refused(
            "a frozen vault serves no names, and this home does not have all of them",
            code=Frozen.code,
            hint="Say which one by its id: 'sealroom members' and 'sealroom collection list' show "
            "them.",
        ) from missing


async def read_rows(session: Session, where: Collection, number: int) -> Rows:
    """Return every row of a catalog.

    A block that is what was committed and yet does not open names nothing, and neither does a cell
    that is another than this home saw there (`client.seen`). That is the doing of its writer, of
    whoever re-encrypted it, or of whoever made its key: any admin could do it, and must not
    thereby close the vault to the others, so it is told beside the rows. Another block than
    was committed, and one withheld, is the server's doing, and raises.

    Raises:
        ManifestMismatch: so it is.
    """
    missing = await _fetch_missing(session, where.id, number)
    rows: list[Row] = []
    failure: SealroomError | None = missing
    for batch, ref in _current(session, where.id, number):
        block = _kept(session, batch, ref)
        if block is None or not batch.records:
            continue
        # Whoever looks often, at many names, does not open each anew every time.
        known = session.opened.get((batch.id, ref.sha256))
        if known is None:
            try:
                cells = _opened(session, where, batch, ref, block)
            except (IntegrityError, CommitmentMismatch, WeakKey) as error:
                failure = failure or error
                continue
            known = _rows(batch, cells)
            if others := exchanged(session, batch, cells):
                failure = failure or _exchanged(batch)
                known = [row for row in known if row.position not in others]
            else:
                session.opened[batch.id, ref.sha256] = known
        rows += known
    return Rows(rows, failure, missing)


def _exchanged(batch: Batch) -> IntegrityError:
    return IntegrityError(
        f"names in batch {batch.id.hex()} are others than this home saw there",
        hint="Whoever sealed them anew exchanged them: 'sealroom log' shows who re-encrypted.",
    )


def _current(
    session: Session, collection: bytes, number: int
) -> tuple[tuple[Batch, BlockRef], ...]:
    """Return the blocks of a catalog as they are known now; none where it is closed by now."""
    where = session.state.collections.get(collection)
    if where is None or not session.may_open(collection, number):
        return ()
    return where.blocks(number)


async def _fetch_missing(session: Session, collection: bytes, number: int) -> Refused | None:
    """Fetch and keep the blocks of a catalog that this home does not have as they are now.

    A vault that is frozen serves none: then what is kept has to do, and the refusal is returned.

    Raises:
        ManifestMismatch: another block came, or the server says that one is not there, or that the
            vault is frozen, and the log does not.
    """
    while True:
        listed = _current(session, collection, number)
        left = ((batch, ref) for batch, ref in listed if batch.records)
        missing = [(batch, ref) for batch, ref in left if _kept(session, batch, ref) is None]
        known, frozen = session.believed.ledger.size, session.state.frozen
        try:
            async for batch, ref, block in fetch_blocks(session, collection, missing):
                verify_block(ref, block)
                session.store.keep_block(batch.id, ref.field, block)
        except (ManifestMismatch, Refused) as error:
            refusal = error.refusal if isinstance(error, Refused) else None
            if refusal not in (None, NotFound.code, Frozen.code):
                raise
            await session.sync_as_member()
            if isinstance(error, Refused) and refusal == Frozen.code:
                if session.state.frozen or session.state.ended:
                    return error
                if not frozen:
                    _expect_was_frozen(session, known, error)
            elif _current(session, collection, number) == listed:
                if refusal == NotFound.code:
                    raise ManifestMismatch(
                        "the server withholds names: it says that they are not there, and the log "
                        "lists them"
                    ) from error
                raise
        else:
            return None


def _expect_was_frozen(session: Session, known: int, error: Refused) -> None:
    """Check that a vault was frozen, and is no more, since the log had `known` leaves.

    Whoever believed a server that only says so would go on without the names that it withholds.
    """
    since = (act for act in session.believed.acts[known:] if act is not None)
    if not any(isinstance(act.payload, acts.Freeze) for act in since):
        raise ManifestMismatch(
            "the server withholds names: it says that the vault is frozen, and the log does not"
        ) from error


def _kept(session: Session, batch: Batch, ref: BlockRef) -> bytes | None:
    """Return a block that this home has, if it is the one that is committed now."""
    block = session.store.block(batch.id, ref.field)
    if block is None or hashlib.sha256(block).digest() != ref.sha256:
        return None
    return block


def _opened(
    session: Session, where: Collection, batch: Batch, ref: BlockRef, block: bytes
) -> list[bytes | None]:
    key = session.key(Address(where.id, ref.field, ref.epoch)).key.expose()
    cells = open_committed(key, where, batch, ref, block, True)
    return [cells.cell(i) for i in range(cells.count)]


def _rows(batch: Batch, cells: Sequence[bytes | None]) -> list[Row]:
    return [
        Row(batch, i, values)
        for i, cell in enumerate(cells)
        if cell is not None and (values := _map(cell)) is not None
    ]


def _map(cell: bytes) -> dict[str, Value] | None:
    """Read one cell. What a writer got wrong names nothing, and must not keep readers out."""
    try:
        value = decode(cell, max_bytes=LIMITS.cell_bytes)
    except SealroomError:
        return None
    return value if isinstance(value, dict) else None


def _text(row: Mapping[str, Value], key: str) -> str | None:
    value = row.get(key)
    return value[:NAME_CHARACTERS] if isinstance(value, str) else None


def _listed(row: Mapping[str, Value], key: str) -> Sequence[Value]:
    value = row.get(key)
    return value if isinstance(value, tuple | list) else ()


def _add_field(names: Names, where: Collection, its_class: FieldClass, value: Value) -> None:
    """Take the name and type of a field, from the catalog of its own class and no other."""
    match value:
        case (int(number), str(name), str(kind)) if type(number) is int:
            mine = 0 <= number < len(where.classes) and where.classes[number] is its_class
            if mine and name and is_type_text(kind):
                names.fields[number] = NamedField(name, kind)
