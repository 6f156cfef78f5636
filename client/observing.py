"""What the server admits that it served (SPEC section 8.4)."""

from __future__ import annotations

from typing import Final

from client.session import Session
from protocol.acts import Role
from protocol.errors import IntegrityError, ManifestMismatch
from protocol.ledger.parties import MemberStatus
from protocol.merkle import leaf_hash
from protocol.observations import ObservationBody, observation_leaf, verify_observation

OBSERVERS: Final = frozenset({Role.OWNER, Role.ADMIN, Role.KEYLESS_ADMIN, Role.AUDITOR})
"""Roles that the server tells what it served (SPEC section 8.2)."""


def may_observe(session: Session) -> bool:
    """Say whether this member is told what the server served."""
    me = session.state.members.get(session.identity.member_id)
    return me is not None and me.status is MemberStatus.CONFIRMED and me.role in OBSERVERS


async def observations(session: Session) -> tuple[ObservationBody, ...]:
    """Return what the server signed that it served; checked against the log (SPEC 8.4).

    They prove the reads that the server admits, never the absence of others.

    Raises:
        IntegrityError, ContextMismatch: one that is not the leaf it claims, or not signed.
        ManifestMismatch: not exactly those whose leaves are in the log.
        Refused: this role does not see them.
    """
    await session.sync()
    due = [index for index, act in enumerate(session.believed.acts) if act is None]
    seen: list[ObservationBody] = []
    while len(seen) < len(due):
        page = await session.transport.observations(session.vault_id, due[len(seen)])
        # Further ones may have landed since.
        for each, index in zip(page.observations, due[len(seen) :], strict=False):
            if each.index != index:
                raise ManifestMismatch(f"the server's observation {index} is missing")
            seen.append(_observed(session, index, each.salt, each.envelope))
        if not page.observations:
            raise ManifestMismatch(f"the server withholds its observation {due[len(seen)]}")
    return tuple(seen)


def _observed(session: Session, index: int, salt: bytes, envelope: bytes) -> ObservationBody:
    leaf, state = observation_leaf(salt, envelope), session.state
    if session.believed.ledger.tree.leaf(index) != leaf_hash(leaf):
        raise IntegrityError(f"the server's observation {index} is not the one in the log")
    return verify_observation(salt, envelope, leaf, state.vault_id, state.server_key)
