"""Further records into a collection that is there: which one it is, and whether a table fits it.

Columns are matched by name, so their order is no obstacle. Everything else has to be as it is
there: nothing is padded, cast or left out, and nothing is sent before all of it fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from client.catalogs import Names, expect_all, name_of, read_names, read_people
from client.errors import InputError, Refused
from client.likely import spelt_otherwise
from client.naming import is_familiar
from client.plans import Plan
from client.session import Session
from client.tables import Column, Source
from client.tables.combining import Arranged, Several
from protocol.blocks import PEOPLE_COLLECTION
from protocol.errors import IntegrityError
from protocol.ledger.contents import Collection

MOST_TOLD: Final = 12

_WAYS: Final = {
    "name": "Call the column what the field is called there, to the letter.",
    "missing": "Add the column, empty where nothing is known.",
    "extra": "Leave the column out, or upload the table under another name.",
    "type": "Cast the column where the table comes from; --types infer types columns of text.",
    "class": "Leave --class out, as the fields of a collection keep their classes; where one is to "
    "be guarded more closely, upload under another name.",
}
"""How to go on, by what is different."""

Difference = tuple[str, str]
"""What kind of difference it is, and in words which."""


async def collection_named(session: Session, name: str) -> tuple[Collection, Names] | None:
    """Return the collection of this name or id, with its names; None where there is none.

    Raises:
        InputError: several have the name, or nothing was committed to the one of this id; or none
            has it, and it is no name for a new one.
        Refused: not every name is here; or another admin defined the one of this name, and this
            member never added to it, so that what it is has to be said by its id.
    """
    if (its_own := await _of_id(session, name)) is not None:
        return its_own
    found = []
    for where in session.state.collections.values():
        if where.id != PEOPLE_COLLECTION:
            names = await read_names(session, where.id)
            expect_all(names.missing)
            if names.name == name:
                found.append((where, names))
    if len(found) > 1:
        ids = ", ".join(where.id.hex() for where, _ in found)
        raise InputError(
            f"several collections are called {name!r}",
            hint=f"'sealroom collection list' shows them. Say which by its id, of {ids}; or upload "
            "under another name.",
        )
    if not found and name != name.strip():
        raise InputError(
            f"no new collection can be called {name!r}", hint="Leave out the spaces at its ends."
        )
    if not found:
        return None
    await _expect_familiar(session, name, found[0][0])
    return found[0]


async def _of_id(session: Session, text: str) -> tuple[Collection, Names] | None:
    """Return the collection of this id, whole: no name that others gave wins against it."""
    known = session.state.collections.values()
    where = next((c for c in known if c.id.hex() == text and c.id != PEOPLE_COLLECTION), None)
    if where is None:
        return None
    if not where.batches:
        raise InputError(
            f"nothing was committed to the collection {text} yet",
            hint="The upload that made it goes on by the command that it had.",
        )
    return where, await read_names(session, where.id)


async def _expect_familiar(session: Session, name: str, where: Collection) -> None:
    """Refuse to add, by a name alone, to what another admin called so.

    It chose the classes too: whoever means its own table of that name would add to a collection of
    which others read more.

    Raises:
        Refused: this member never added to it.
    """
    if is_familiar(session.state, where, session.identity.member_id):
        return
    by = name_of(session.state, await read_people(session), where.definer)
    raise Refused(
        f"{name!r} is a collection that {by or 'another admin'} made, and you never added to it",
        code="conflict",
        hint=f"Nothing was sent. 'sealroom collection show {where.id.hex()}' shows its fields and "
        "their classes. If it is the one, give that id in the place of its name, once; or upload "
        "under another name.",
    )


async def misspelt(session: Session, name: str) -> str | None:
    """Return what to say of a name that no collection has, and that is much like one that is there.

    Names that differ in digits alone are a series, such as one for each year.
    """
    from difflib import get_close_matches  # seldom needed

    def letters(text: str) -> str:
        return "".join(each for each in text.lower() if not each.isdigit())

    known = [
        (await read_names(session, where.id)).name or ""
        for where in session.state.collections.values()
        if where.id != PEOPLE_COLLECTION
    ]
    others = [each for each in known if letters(each) != letters(name) and letters(each)]
    close = get_close_matches(name, others, n=1, cutoff=0.8)
    return f"{name!r} is a new collection; there is one called {close[0]!r}" if close else None


def fitted(session: Session, plan: Plan, where: Collection, names: Names) -> Plan:
    """Return the plan of appending a table to a collection: its name, columns, classes as there.

    Raises:
        InputError: it does not fit; every difference is told, field by field, and how to go on.
        Refused: this member does not hold all of the collection's fields, so it cannot add to it.
    """
    wanted = _columns_of(session, where, names)
    told = [*_unlike(plan.source.columns, wanted), *_other_classes(plan, where, wanted)]
    if told:
        raise _unfit(f"the table does not fit the collection {plan.collection!r}", told)
    source, called = _arranged(plan.source, wanted), names.name or plan.collection
    return replace(plan, source=source, collection=called, classes=where.classes)


def as_one(sources: Sequence[Source]) -> Source:
    """Return tables with the same columns as one, in their order.

    Raises:
        InputError: one of them has other columns than the first; it and they are named.
    """
    first, *others = sources
    if not others:
        return first
    for source in others:
        told = list(_unlike(source.columns, first.columns))
        if told:
            what = f"{source.name or 'a table'} does not fit {first.name or 'the first one'}"
            raise _unfit(what, told)
    return Several([first, *(_arranged(each, first.columns) for each in others)])


def _unfit(what: str, told: Sequence[Difference]) -> InputError:
    more = f"; and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
    listed = "; ".join(text for _, text in told[:MOST_TOLD])
    ways = dict.fromkeys(_WAYS[kind] for kind, _ in told)
    return InputError(f"{what}: {listed}{more}", hint=" ".join(["Nothing was sent.", *ways]))


def _arranged(source: Source, wanted: Sequence[Column]) -> Source:
    """Put columns in the order wanted, which are the same but for that."""
    if source.columns == tuple(wanted):
        return source
    at = {column.name: position for position, column in enumerate(source.columns)}
    arranged = Arranged(source, [at[column.name] for column in wanted])
    arranged.note("its columns are in another order than there, and were put in that one by name")
    return arranged


def _columns_of(session: Session, where: Collection, names: Names) -> list[Column]:
    every = range(len(where.classes))
    closed = [number for number in every if not session.holds(where.id, number)]
    if closed:
        raise Refused(
            f"{len(closed)} fields of the collection are closed to you; a record has all of them",
            code="not_granted",
            hint="Ask the owner for the other classes.",
        )
    unnamed = [number for number in every if number not in names.fields]
    if unnamed:
        raise names.failure or IntegrityError(f"the catalog does not name field {unnamed[0]}")
    return [Column(names.fields[number].name, names.fields[number].type) for number in every]


def _unlike(columns: Sequence[Column], wanted: Sequence[Column]) -> Iterator[Difference]:
    types = {column.name: column.type for column in columns}
    names = [column.name for column in wanted]
    alike = spelt_otherwise(
        (name for name in names if name not in types), (name for name in types if name not in names)
    )
    for column in wanted:
        mine = types.pop(column.name, None)
        if mine is None and column.name in alike:
            other, how = alike[column.name]
            del types[other]
            yield "name", f"{column.name!r} is missing, and {other!r} is like it but for {how}"
        elif mine is None:
            yield "missing", f"{column.name!r} is missing"
        elif mine != column.type:
            yield "type", f"{column.name!r} is {mine}, and {column.type} there"
    for name in types:
        yield "extra", f"{name!r} is no field there"


def _other_classes(plan: Plan, where: Collection, wanted: Sequence[Column]) -> Iterator[Difference]:
    mine = dict(zip((column.name for column in plan.source.columns), plan.classes, strict=True))
    for column, theirs in zip(wanted, where.classes, strict=True):
        if column.name in plan.said and mine.get(column.name, theirs) is not theirs:
            told = f"{mine[column.name].name.lower()}, and {theirs.name.lower()} there"
            yield "class", f"{column.name!r} is to be {told}"
