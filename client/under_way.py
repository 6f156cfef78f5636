"""A name that an upload of this home holds before anything of it is visible (SPEC section 10.5).

Until an upload to a new collection has landed, no catalog says what that is called. The journal
does, so that another table does not become a second collection of that name.
"""

from __future__ import annotations

import asyncio
import shlex
from dataclasses import replace

from client.catalogs import names_in_journal
from client.errors import Refused
from client.journals import JournalledUpload, name_tag
from client.plans import Plan
from client.session import Session
from protocol.ledger.contents import Collection


def under_way(session: Session, name: str) -> tuple[JournalledUpload, ...]:
    """Return what this home has begun to upload to a new collection of this name, and not ended."""
    state = session.state

    def invisible(collection: bytes) -> bool:
        where = state.collections.get(collection)
        return collection not in state.retired and (where is None or not where.batches)

    return tuple(
        begun
        for begun in session.store.uploads.unfinished()
        if begun.name == name_tag(begun.collection, name)
        and begun.upload not in state.uploads
        and invisible(begun.collection)
    )


async def expect_free(session: Session, plan: Plan) -> None:
    """Refuse a table whose name another one holds, before anybody is asked anything.

    The file is read to its end only where something is under way to that name.

    Raises:
        Refused: as `giving_way`.
    """
    begun = under_way(session, plan.collection)
    if not begun:
        return
    source = await asyncio.to_thread(plan.source_id)
    same = next((each for each in begun if each.source == source), None)
    if same is None:
        giving_way(session, plan)
    else:
        tell_renamed(session, plan, same)


def tell_renamed(session: Session, plan: Plan, begun: JournalledUpload) -> None:
    """Say that a file goes on with an upload that was begun under another name: its content counts.

    The vault has the old name, sealed, if anything of the upload was sent.
    """
    file = names_in_journal(session, begun).file
    if file and file != plan.source.name:
        plan.source.note(
            f"{plan.source.name or 'this table'} is what was begun as {file}, and goes on with it: "
            f"the vault calls it {file}"
        )


def giving_way(session: Session, plan: Plan) -> tuple[JournalledUpload, ...]:
    """Return the uploads to a new collection of this name in whose place a table goes.

    These are those of which nothing was sent, and that of the same file before it was mended: it
    goes where that was going, and starts over, which is said.

    Raises:
        Refused: the upload of another file is unfinished, or it has other classes; how that goes
            on, and how it is given up, is told.
    """
    begun = under_way(session, plan.collection)
    for each in begun:
        where = session.state.collections.get(each.collection)
        sent = session.store.uploads.batches(each.upload)
        file = names_in_journal(session, each).file or None
        other = bool(sent) and file != plan.source.name
        if where is not None and (other or where.classes != plan.classes):
            # It is told apart from another table by its content, which is read for it.
            same = not other or _is(plan, each, where)
            raise _held(plan, each, file, same=same)
        if sent:
            plan.source.note(
                f"{file or 'the table'} reads otherwise than when its upload to "
                f"{plan.collection!r} was cut off, so it starts over"
            )
    return begun


def _is(plan: Plan, begun: JournalledUpload, where: Collection) -> bool:
    """Say whether a table is the one that was begun, but for the classes of its columns."""
    if len(where.classes) != len(plan.classes):
        return False
    return replace(plan, classes=where.classes).source_id() == begun.source


def _held(plan: Plan, begun: JournalledUpload, file: str | None, *, same: bool) -> Refused:
    """Return the refusal of a table; the `same` is the one begun, with other classes."""
    name, mine = plan.collection, plan.source.name or None
    renamed = same and file is not None and mine is not None and mine != file
    again = mine if renamed and mine else file or "FILE"
    goes_on = shlex.join(["sealroom", "upload", again, "--collection", name])
    short = begun.collection.hex()[:16]
    what = f"an upload of {file or 'another table'} to {name!r} is unfinished"
    if renamed:
        what = f"{mine} is {file} under another name, and its upload to {name!r} is unfinished"
    nothing = "Nothing was sent. "
    if not same and mine is not None and file is not None:
        nothing = f"{mine} holds something else than {file}, so nothing was sent. "
    return Refused(
        what + (", with other classes" if same else ""),
        code="conflict",
        hint=f"{nothing}'{goes_on}' goes on with it, with the options that it had; "
        f"'sealroom collection retire {short} --reason mistake' gives it up. "
        "Or upload under another name.",
    )
