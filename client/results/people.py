"""Members, and how they come in."""

from __future__ import annotations

from dataclasses import dataclass

from client.results.log import ActResult


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """One member or open invite; `words` are the twelve to compare with it.

    They were `compared` under the name that it goes by; `compared_as` is another one under which
    they were. Of what is `planned`, by whom, `beyond` are the classes that one could not grant.
    """

    member_id: str
    name: str | None
    role: str
    status: str
    me: bool
    grants: tuple[str, ...]
    planned: tuple[str, ...]
    words: str | None
    compared: bool
    compared_as: str | None = None
    planned_by: str | None = None
    beyond: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfirmResult(ActResult):
    """A member that was confirmed: what was `granted` to it by that, and who had planned it."""

    granted: tuple[str, ...] = ()
    planned_by: str | None = None


@dataclass(frozen=True, slots=True)
class InviteResult:
    """A fresh invite. Whoever has the link can join once with it."""

    link: str
    invite_id: str
    name: str
    role: str
    classes: tuple[str, ...]
    expires: int


@dataclass(frozen=True, slots=True)
class JoinResult:
    """A membership: `words` are to be compared with the inviter, by voice or in person.

    `title_sealed` as in `VaultStatus`.
    """

    vault_id: str
    title: str
    member_id: str
    inviter_id: str
    role: str
    status: str
    words: str
    compared: bool
    head_age: int
    title_sealed: bool = False
