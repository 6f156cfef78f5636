"""Payloads of acts on what is stored (SPEC sections 8.3 and 9.5)."""

from __future__ import annotations

from typing import Annotated

from protocol.acts.terms import Id16, Id32, Reason
from protocol.blocks import BlockRef, Manifest
from protocol.limits import LIMITS
from protocol.wire import ListOf, Uint, record

Part = Annotated[int, Uint(0xFFFF)]
Manifests = Annotated[tuple[Manifest, ...], ListOf(Manifest, LIMITS.act_batches, 1)]


@record
class Commit:
    """Manifests of one upload, in parts; nothing is visible before the last."""

    upload: Id16
    collection: Id16
    part: Part
    last: bool
    manifests: Manifests


@record
class EmptiedBlock:
    """A block from which cells go: what it was, and what it is without them."""

    field: Annotated[int, Uint(0xFFFF)]
    before: Id32
    length: Annotated[int, Uint(LIMITS.block_bytes, least=4)]
    after: Id32


@record
class Erasure:
    """Records of one batch that go, by position, and what each of its blocks then is."""

    batch: Id16
    positions: Annotated[
        tuple[int, ...],
        ListOf(Uint(LIMITS.batch_records - 1), LIMITS.batch_records, 1, ascending=True),
    ]
    blocks: Annotated[tuple[EmptiedBlock, ...], ListOf(EmptiedBlock, LIMITS.fields, 1)]


Erasures = Annotated[tuple[Erasure, ...], ListOf(Erasure, LIMITS.act_batches, 1, ascending=True)]


@record
class Erase:
    """Empty the cells of records in every field, for ever."""

    collection: Id16
    reason: Reason
    erasures: Erasures


@record
class Replace:
    """The last part of a commit that erases, in the same moment, what it replaces."""

    upload: Id16
    collection: Id16
    part: Part
    manifests: Manifests
    reason: Reason
    erasures: Erasures


@record
class MovedBlock:
    """A block that was sealed anew: which one it was made from, and what it is now."""

    batch: Id16
    before: Id32
    block: BlockRef


@record
class Reencrypt:
    """Blocks sealed anew under newer epochs, in parts; nothing moves before the last."""

    upload: Id16
    collection: Id16
    part: Part
    last: bool
    moves: Annotated[tuple[MovedBlock, ...], ListOf(MovedBlock, LIMITS.act_moves, 1)]
