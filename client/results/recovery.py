"""Custodians, and what becomes of an owner's lost keys."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CustodianInfo:
    """One custodian, by name; `released` says to how many it has given its share."""

    member_id: str
    name: str | None
    live: bool
    released: int


@dataclass(frozen=True, slots=True)
class RecoveryStatus:
    """The dealing in force: `mine` says whether this member's own share is right, if it has one."""

    index: int
    threshold: int
    custodians: tuple[CustodianInfo, ...]
    rebuilt: bool
    mine: bool | None


@dataclass(frozen=True, slots=True)
class RescueRequest:
    """What whoever lost an owner's keys sends to custodians: text, and the id to compare by."""

    text: str
    vault_id: str
    member_id: str


@dataclass(frozen=True, slots=True)
class RescueResult:
    """An owner who is one again: by which custodians' shares, and which did not fit.

    `left` are the epochs whose keys had been given to the owner false, and were left behind.
    """

    index: int
    old_id: str
    new_id: str
    custodians: tuple[str, ...]
    wrong: tuple[str, ...]
    left: tuple[str, ...]
