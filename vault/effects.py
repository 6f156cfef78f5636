"""What an act changes in storage besides the log: batches shown, uploads held and dropped."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from protocol import acts
from protocol.blocks import PEOPLE_COLLECTION, Manifest
from protocol.errors import OutOfOrder
from protocol.ledger.holders import holds, is_keyed
from protocol.ledger.state import Member, State
from protocol.wire import to_bytes
from vault.storage.base import Effects, Publish, StagedBatch


def effects_of(before: State, after: State, payload: acts.Payload) -> Effects:
    """Return what is to happen together with the append of an act, given the states around it.

    The last part of a commit shows every batch of its upload. From its first part on, until the
    ledger drops it, an upload does not expire: its batches can never be committed again, so the
    last part would show what is gone. Whoever is removed loses what it had staged.
    """
    return Effects(
        publish=_published(before, after, payload),
        drop_members=_removed(before, after),
        hold_uploads=tuple(after.pending.keys() - before.pending.keys()),
        release_uploads=tuple(before.pending.keys() - after.pending.keys()),
    )


def expect_staged(commit: acts.Commit, staged: Sequence[StagedBatch]) -> None:
    """Check that exactly these manifests are staged, by the author under this upload.

    Raises:
        OutOfOrder: one is not.
    """
    there = {batch.batch_id: batch.manifest_digest for batch in staged}
    for manifest in commit.manifests:
        if there.get(manifest.batch_id) != hashlib.sha256(to_bytes(manifest)).digest():
            raise OutOfOrder(
                f"batch {manifest.batch_id.hex()} is not staged as the commit lists it",
                hint="Upload it again, then commit.",
            )


def could_commit(state: State, author: Member, manifest: Manifest) -> bool:
    """Say whether some collection would take such a batch from this member.

    An upload does not say which collection it is for; its commit does, and is judged exactly.
    """
    numbers = tuple(ref.field for ref in manifest.blocks)
    return any(
        (is_keyed(author.role) or where.id == PEOPLE_COLLECTION)
        and (manifest.is_catalog or numbers == tuple(range(len(where.classes))))
        and all(where.has(number) and holds(author, where, number) for number in numbers)
        for where in state.collections.values()
    )


def _published(before: State, after: State, payload: acts.Payload) -> tuple[Publish, ...]:
    if not isinstance(payload, acts.Commit) or not payload.last:
        return ()
    shown = len(before.collections[payload.collection].batches)
    grown = after.collections[payload.collection].batches[shown:]
    return (Publish(payload.upload, tuple(batch.manifest.batch_id for batch in grown)),)


def _removed(before: State, after: State) -> tuple[bytes, ...]:
    if before.members is after.members:
        return ()
    known = (after.members[member.id] for member in before.members.values() if member.live)
    return tuple(member.id for member in known if not member.live)
