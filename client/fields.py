"""Fields by name: rules that name them, what they are called, and which ones a member holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from client.catalogs import expect_all, read_names
from client.documents.entries import holds_documents
from client.errors import InputError
from client.likely import likely
from client.people import collection_labels
from client.results.data import FieldsOf
from client.session import Session
from protocol.acts import Rule
from protocol.blocks import PEOPLE_COLLECTION, FieldClass
from protocol.ledger.holders import holds
from protocol.ledger.state import State
from protocol.wire import to_bytes

Field = tuple[bytes, int]
"""A collection's id, and a field's number in it."""


async def make_rules(
    session: Session,
    classes: Sequence[FieldClass],
    fields: Sequence[str],
    collection: bytes | None,
) -> tuple[Rule, ...]:
    """Turn classes and field names into rules, in the one order.

    Raises:
        InputError: a field name that is not there, or is in several collections.
    """
    rules = [Rule(collection, each, None) for each in classes]
    for name in fields:
        rules.append(await _field_rule(session, name, collection))
    return tuple(sorted(set(rules), key=lambda rule: to_bytes(rule)))


async def _field_rule(session: Session, name: str, collection: bytes | None) -> Rule:
    known = [each for each in session.state.collections if each != PEOPLE_COLLECTION]
    found, names = [], set()
    for each in [collection] if collection else known:
        its_names = await read_names(session, each)
        expect_all(its_names.missing)
        named = its_names.fields
        names |= {field.name for field in named.values()}
        found += [(each, number) for number, field in named.items() if field.name == name]
    if not found:
        hint = likely(name, names, "'sealroom collection list' shows them.")
        raise InputError(f"no field {name!r}", hint=hint)
    if len(found) > 1:
        raise InputError(
            f"several collections have a field {name!r}",
            hint="Name its collection with --collection.",
        )
    return Rule(found[0][0], None, found[0][1])


async def field_names(session: Session, fields: Iterable[Field]) -> tuple[FieldsOf, ...]:
    """Return fields by name, each with its collection, as far as this member may know them.

    The vault's own, names of people, come last.
    """
    labels = await collection_labels(session)
    grouped: dict[bytes, list[str]] = {}
    for collection, number in fields:
        grouped.setdefault(collection, []).append(await _field_name(session, collection, number))
    of_people = grouped.pop(PEOPLE_COLLECTION, None)
    found = [FieldsOf(labels[each], tuple(names)) for each, names in grouped.items()]
    found.sort(key=lambda each: each.collection or "")
    return (*found, *([FieldsOf(None, tuple(of_people))] if of_people else []))


async def _field_name(session: Session, collection: bytes, number: int) -> str:
    if collection == PEOPLE_COLLECTION:
        return "names of people"
    where, names = session.state.collections[collection], await read_names(session, collection)
    documents = holds_documents(names)
    if number in where.catalogs:
        of_class = where.class_of(number).name.lower()
        return "names of documents" if documents else f"names of {of_class} fields"
    named = names.fields.get(number)
    if documents:
        return "documents"
    return named.name if named else f"field {number}"


def held_fields(session: Session, collection: bytes | None = None) -> list[Field]:
    """Return the fields that this member holds, of one collection or of all."""
    me = session.state.members[session.identity.member_id]
    return [
        (each.id, number)
        for each in session.state.collections.values()
        if collection in (None, each.id)
        for number in each.fields
        if holds(me, each, number)
    ]


def tainted_fields(state: State) -> list[Field]:
    """Return the fields that take no new data until their key is replaced."""
    return [field for field, known in sorted(state.epochs.items()) if known[-1].tainted]
