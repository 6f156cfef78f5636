"""Payloads of acts on collections and the keys of their fields (SPEC sections 8.3 and 9.4)."""

from __future__ import annotations

from typing import Annotated

from protocol.acts.terms import EpochDefinition, EpochName, Id16, Reason
from protocol.blocks import FieldClass
from protocol.errors import MalformedMessage
from protocol.limits import LIMITS
from protocol.wire import ListOf, OneOf, record


@record
class DefineCollection:
    """A new collection: the class of each data field, numbered from 0 in this order."""

    collection: Id16
    classes: Annotated[tuple[FieldClass, ...], ListOf(OneOf(FieldClass), LIMITS.fields, 1)]

    def __post_init__(self) -> None:
        """Refuse the people catalog's id and class."""
        if self.collection == bytes(16) or FieldClass.PEOPLE in self.classes:
            raise MalformedMessage("the people catalog is not a collection of data")


@record
class RetireCollection:
    """End a collection: its blocks and its wraps go, and its id is never used again."""

    collection: Id16
    reason: Reason


@record
class CreateEpoch:
    """New field keys, each wrapped for exactly the holders of its field."""

    epochs: Annotated[
        tuple[EpochDefinition, ...], ListOf(EpochDefinition, LIMITS.fields, 1, ascending=True)
    ]


@record
class RetireEpoch:
    """End epochs under which nothing lies any more; what is beside the log of them goes."""

    epochs: Annotated[tuple[EpochName, ...], ListOf(EpochName, LIMITS.retired, 1, ascending=True)]
