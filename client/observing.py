"""What the server admits that it served (SPEC section 8.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from client.session import Session
from client.trust import Believed
from protocol.acts import Act, Role
from protocol.blocks import Address
from protocol.checkpoint import Checkpoint
from protocol.errors import IntegrityError, ManifestMismatch
from protocol.ledger.contents import Batch, Collection
from protocol.ledger.holders import may_fetch
from protocol.ledger.parties import MemberStatus
from protocol.ledger.state import State
from protocol.limits import LIMITS
from protocol.merkle import leaf_hash
from protocol.observations import ObservationBody, observation_leaf, verify_observation

OBSERVERS: Final = frozenset({Role.OWNER, Role.ADMIN, Role.KEYLESS_ADMIN, Role.AUDITOR})
"""Roles that the server tells what it served (SPEC section 8.2)."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What the server signed of one read, and why that cannot be so, if it cannot.

    Whoever has the server's key can sign anything; what the log rules out is `untrue`.
    """

    index: int
    body: ObservationBody
    untrue: str | None


def may_observe(session: Session) -> bool:
    """Say whether this member is told what the server served."""
    me = session.state.members[session.identity.member_id]
    return me.status is MemberStatus.CONFIRMED and me.role in OBSERVERS


async def observations(session: Session) -> tuple[Observed, ...]:
    """Return what the server signed that it served; checked against the log (SPEC 8.4).

    They prove what the server states: it may leave reads out, and it may make some up, so those
    are told apart that the log rules out.

    Raises:
        IntegrityError, ContextMismatch: one that is not the leaf it claims, or not signed.
        ManifestMismatch: not exactly those whose leaves are in the log.
        Refused: this role does not see them.
    """
    await session.sync()
    acts = session.believed.acts
    due = [index for index, act in enumerate(acts) if act is None]
    seen: dict[int, ObservationBody] = {}
    while len(seen) < len(due):
        page = await session.transport.observations(session.vault_id, due[len(seen)])
        # Further ones may have landed since.
        for each, index in zip(page.observations, due[len(seen) :], strict=False):
            if each.index != index:
                raise ManifestMismatch(f"the server's observation {index} is missing")
            seen[index] = _signed(session, index, each.salt, each.envelope)
        if not page.observations:
            raise ManifestMismatch(f"the server withholds its observation {due[len(seen)]}")
    return tuple(_judged(session.believed, acts, seen)) if seen else ()


def _signed(session: Session, index: int, salt: bytes, envelope: bytes) -> ObservationBody:
    leaf, state = observation_leaf(salt, envelope), session.state
    if session.believed.ledger.tree.leaf(index) != leaf_hash(leaf):
        raise IntegrityError(f"the server's observation {index} is not the one in the log")
    return verify_observation(salt, envelope, leaf, state.vault_id, state.server_key)


# --- what the log rules out


def _judged(
    believed: Believed, acts: Sequence[Act | None], seen: Mapping[int, ObservationBody]
) -> Iterator[Observed]:
    shelf, times = _Shelf(), _Times(acts, believed.pin)
    # What lands at an index is judged by the state after the leaf before it.
    for index, state in enumerate(believed.states(max(seen)), 1):
        body = seen.get(index)
        if body is not None:
            untrue = shelf.rules_out(state, body) or times.rule_out(index, body.time)
            yield Observed(index, body, untrue)


class _Shelf:
    """What a server could serve and to whom (SPEC 9.2 and 10.4), leaf by leaf."""

    def __init__(self) -> None:
        self._where: Collection | None = None
        self._batches: dict[bytes, Batch] = {}

    def rules_out(self, state: State, body: ObservationBody) -> str | None:
        """Say why that could not be served as things stood, None if it could."""
        member, where = state.members.get(body.member), state.collections.get(body.collection)
        if state.frozen or state.ended:
            return "the vault was frozen or destroyed, and nothing is served then"
        if member is None or not member.live:
            return "whoever it names was no member then"
        if where is None:
            return "there was no such collection then"
        known = self._of(where)
        if not known.keys() >= set(body.batches) or len(set(body.batches)) < len(body.batches):
            return "it names a batch that was not there then, or one twice"
        if not _may_be_served(state, body, [known[each] for each in body.batches]):
            return "it names fields that were not there then, or not for that member to read"
        return None

    def _of(self, where: Collection) -> Mapping[bytes, Batch]:
        # Between two acts a collection is the same object, and reads are many.
        if where is not self._where:
            self._where, self._batches = where, where.by_id()
        return self._batches


def _may_be_served(state: State, body: ObservationBody, batches: Sequence[Batch]) -> bool:
    """Say whether each field and each batch may be part of one answer to that member.

    They are listed apart, so which pairs were fetched is not known; some block of each was.
    """
    wanted, found = set(body.fields), set[int]()
    known: dict[tuple[int, int], bool] = {}
    for batch in batches:
        served = set[int]()
        for ref in batch.manifest.blocks:
            if ref.field not in wanted:
                continue
            if (ref.field, ref.epoch) not in known:
                address = Address(body.collection, ref.field, ref.epoch)
                known[ref.field, ref.epoch] = may_fetch(state, body.member, address)
            if known[ref.field, ref.epoch]:
                served.add(ref.field)
        if not served:
            return False
        found |= served
    return found == wanted


class _Times:
    """Between which times a leaf landed, by the checkpoints that the server signed around it."""

    def __init__(self, acts: Sequence[Act | None], pin: Checkpoint) -> None:
        cited = [None if act is None else act.cited for act in acts]
        # Of one size the least binding time: it may have been signed at several.
        before = ((each.size, -each.time) if each else (0, 0) for each in cited)
        self._before = [-negated for _, negated in accumulate(before, max, initial=(0, 0))]
        """By index, the time of the largest tree that an act before it cites."""
        self._after = [0] * (len(acts) + 1)
        """By size, when the server signed the smallest tree that has so many leaves."""
        self._after[min(pin.size, len(acts))] = pin.time
        for each in cited:
            if each is not None:
                self._after[each.size] = max(self._after[each.size], each.time)
        for size in reversed(range(len(acts))):
            self._after[size] = self._after[size] or self._after[size + 1]

    def rule_out(self, index: int, time: int) -> str | None:
        """Say why a leaf cannot have landed at a time; None where it can, or nobody can tell.

        A clock that was set back has the server contradict itself all around; then it cannot
        be told which of its times is false.
        """
        slack = LIMITS.checkpoint_age_seconds
        least, most = self._before[index] - slack, self._after[index + 1] + slack
        if least > most or least <= time <= most:
            return None
        return "its time does not fit those which the server signed before and after it"
