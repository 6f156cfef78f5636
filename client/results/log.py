"""Acts that landed, and the log in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class ActResult:
    """An act that landed: its kind, and its index in the log."""

    kind: str
    index: int
    member_id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class HeartbeatResult(ActResult):
    """A head that was signed; `counts` where the policy lets its signer tell writers its age."""

    counts: bool = True


@dataclass(frozen=True, slots=True)
class AttestResult:
    """A statement that the log has; `proof` is the file that proves it to anybody."""

    statement: str
    index: int
    member_id: str
    proof: str


OBSERVATION: Final = "observation"
"""The kind of a leaf in which the server says what it served."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One leaf of the log, in words; of an observation, who read what and when, if one may know."""

    index: int
    kind: str
    author: str | None
    author_name: str | None
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LogResult:
    """The replayed log; `verified` says how many leaves were checked from the genesis on.

    What the server says of the reads at `false_observations` the log rules out.
    """

    vault_id: str
    size: int
    root: str
    checkpoint: str
    checkpoint_age: int
    verified: int
    entries: tuple[LogEntry, ...]
    false_observations: tuple[int, ...] = ()
