"""One member at work in one vault: sync, act, hold keys (SPEC section 10.5).

An act is drafted on the newest verified state, previewed by the same rules that the server
and every other client apply, signed, sent, and found again in the verified log before it
counts as done. If other people's acts came between, it is drafted anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from client.crypto.identity import Identity
from client.crypto.secrets import Share
from client.crypto.wraps import NewEpoch, OpenedKey, create_epoch, make_sides
from client.errors import Refused
from client.remembered import Remembered
from client.standing import in_words, what_helps, who_may, your_role
from client.store import VaultStore
from client.transport import Transport
from client.trust import FALSE_KEY, Believed
from protocol import acts
from protocol.acts import Act, Citation
from protocol.api import SubmitAct
from protocol.blocks import Address
from protocol.errors import CommitmentMismatch, IntegrityError, Rollback, SealroomError, Stale
from protocol.labels import Label
from protocol.ledger import Landed, State, act_leaf, sides_root
from protocol.ledger.holders import held, holds, may_read
from protocol.ledger.sides import SHARE_BYTES, required_entries
from protocol.ledger.transitions import TRANSITIONS
from protocol.limits import DAY, LIMITS
from protocol.merkle import leaf_hash
from protocol.wire import Envelope, pae, to_bytes

ATTEMPTS: Final = 6
LATE_SECONDS: Final = 60
"""After so long an answer, a machine has slept, or waited for a server that was away."""
HEAD_RENEWALS: Final = 7
"""How many times within the policy's age the owner signs the head anew, when it comes by."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What an author wants to say: a payload, and the epochs that it creates.

    With `without_false`, nothing stands in the place of shares that were given to it false, and
    that it would have to pass on: for an author that moves to another identity of its own.
    """

    payload: acts.Payload
    created: Mapping[Address, NewEpoch] = field(default_factory=dict)
    cited: Citation | None = None
    without_false: bool = False


Build = Callable[[State], Draft]
"""Makes a draft from the newest state; called again if that state moved meanwhile."""


class Unneeded(Exception):
    """Raised by a `Build` where the newest state needs no such act any more."""


def saying(payload: acts.Payload) -> Build:
    """Return a draft of a payload that is the same on every state."""
    return lambda _: Draft(payload)


@dataclass(frozen=True, slots=True)
class Successor:
    """An identity of this home that may come to stand in the place of the one it has.

    `follow` is told once it does, and returns the connection to go on with.
    """

    identity: Identity
    follow: Callable[[], Transport]


class Session:
    """A member (or a newcomer with its invite) connected to a vault."""

    def __init__(
        self,
        identity: Identity,
        believed: Believed,
        store: VaultStore,
        transport: Transport,
        clock: Callable[[], float],
    ) -> None:
        self.identity = identity
        self.believed = believed
        self.store = store
        self.transport = transport
        self.clock = clock
        self.successors: tuple[Successor, ...] = ()
        self.opened: dict[tuple[bytes, bytes], list[Any]] = {}
        """What `client.catalogs` opened, by batch and hash of the block: names, in memory only."""
        self._acting = asyncio.Lock()

    @property
    def vault_id(self) -> bytes:
        """The vault's id, 32 bytes."""
        return self.believed.vault_id

    @property
    def state(self) -> State:
        """The newest verified state."""
        return self.believed.state

    async def sync(self) -> tuple[Landed, ...]:
        """Fetch and verify what is new; raises as `Believed.sync`.

        Where this identity was replaced by another one of this home, the session goes on as that.
        """
        landed = await self._read_log()
        if await self._followed():
            landed += await self._read_log()
        return landed

    async def _read_log(self) -> tuple[Landed, ...]:
        """Sync; where the answer was so long in coming that its age says nothing, once more."""
        for attempt in range(ATTEMPTS):
            asked = self.clock()
            try:
                return await self.believed.sync(self.transport, asked, self.identity.member_id)
            except Stale:
                if attempt == ATTEMPTS - 1 or abs(self.clock() - asked) < LATE_SECONDS:
                    raise
        raise AssertionError("unreachable")

    async def _followed(self) -> bool:
        """Go on as one of this identity's successors, if the log has it in its place."""
        known = self.state.members
        following = next((s for s in self.successors if s.identity.member_id in known), None)
        if following is None:
            return False
        Remembered(self.store, self.identity).pass_to(following.identity)
        transport = following.follow()
        await self.transport.close()
        self.identity, self.transport, self.successors = following.identity, transport, ()
        return True

    async def sync_as_member(self) -> None:
        """Sync, and go on only as somebody who still belongs here; raises as `expect_member`."""
        await self.sync()
        self.expect_member()

    def expect_member(self) -> None:
        """Go on only as somebody who belongs here by the newest verified state.

        Raises:
            Refused: this member was removed; the log says where.
        """
        me = self.state.members.get(self.identity.member_id)
        if me is not None and me.successor is not None:
            raise Refused(
                f"your identity was replaced by new keys, which this home does not have (act "
                f"{me.removed_at} of the log)",
                code="replaced",
                hint="If it was you, in another home, go on there. If not, somebody has your "
                "keys: have an admin revoke you, and invite you anew.",
            )
        if me is None or not me.live:
            at = "" if me is None else f" (act {me.removed_at} of the log)"
            raise Refused(
                f"you are no longer a member of this vault{at}",
                code="removed",
                hint="'sealroom log' still shows the log up to there.",
            )

    def expect_may(self, kind: type[acts.Payload]) -> None:
        """Refuse at once what this member's role may never do, whatever else is said.

        Raises:
            Refused: the table of transitions has no such role for this kind of act.
        """
        role = self.state.members[self.identity.member_id].role
        if role not in TRANSITIONS[kind].roles:
            raise Refused(
                f"the role {role} may not do this",
                code="not_authorised",
                hint=f"{your_role(role)}: this is for {who_may(kind)}.",
            )

    def head_age(self) -> int:
        """Return how many seconds ago somebody whom the policy names saw a head of this log.

        Negative where the time that it cites has not come yet, by more than clocks may differ.
        """
        age = int(self.clock()) - self.state.head_time
        return age if age < -LIMITS.checkpoint_age_seconds else max(0, age)

    def signs_heads(self) -> bool:
        """Say whether this member's own acts tell writers how new the log is."""
        me = self.identity.member_id
        return me == self.state.owner or me in self.state.policy.head_signers

    async def keep_head_fresh(self) -> None:
        """Make sure of the log's age before anything is sealed (SPEC section 10.5).

        A server could hide a removal from this member alone. So the owner, or somebody else
        whom the policy names, must have seen a head of this very log not long ago. Whoever is
        such a person itself says so now, if it is time.

        Raises:
            Stale: it is longer ago than the policy lets it be, or said to be yet to come.
        """
        most, age = self.state.policy.head_seconds, self.head_age()
        if self.signs_heads():
            # Whoever has created the vault just now signs with what it does next.
            if self.state.head_time and not 0 <= age <= most // HEAD_RENEWALS:
                await self.act(saying(acts.Heartbeat()))
            return
        if age < 0:
            # A time to come would be new enough until then, whoever is removed meanwhile.
            raise Stale(
                f"the head of this log was signed by a clock that is {in_days(-age)} ahead of "
                "this machine's",
                hint="Check this machine's clock; if it is right, ask the owner to run "
                "'sealroom heartbeat'.",
            )
        if age > most:
            raise Stale(
                f"the owner last signed the head of this log {in_days(age)} ago, "
                f"and this vault's policy is {in_days(most)} at most",
                hint="Ask the owner to run 'sealroom heartbeat', or any command that writes.",
            )

    def citation(self) -> Citation:
        """Return the pinned checkpoint as acts cite it."""
        return Citation.of(self.believed.pin)

    # --- acting

    async def act(
        self, build: Build, *, author: Identity | None = None, then: Transport | None = None
    ) -> int:
        """Land one act, find it in the verified log, and return the index of its leaf.

        `then` is the connection to go on with once it landed, for an act that changes who one
        is: an invite that was used is nobody to the server any more.

        Raises:
            Refused: the rules do not allow it; nothing was changed.
            VerificationFailed: the server lied on the way.
            Unreachable: no answer; whether it landed, the next sync shows.
        """
        who = author or self.identity
        async with self._acting:
            for attempt in range(ATTEMPTS):
                await self.sync()
                size, seen = self.state.size, _moved_by(self.state)
                act, sides = self._signed(build(self.state), who)
                signed = self.clock()
                try:
                    answer = await self.transport.submit(self.vault_id, SubmitAct(act, sides))
                    index = answer.index
                except Refused:
                    await self.sync()
                    landed = self._place(act, size)
                    if landed is None:
                        # Somebody else's act may have come between, or a night since this one
                        # was signed: then try anew, else say so.
                        moved = _moved_by(self.state) != seen
                        late = abs(self.clock() - signed) >= LATE_SECONDS
                        if not (moved or late) or attempt == ATTEMPTS - 1:
                            raise
                        continue
                    index = landed
                if then is not None:
                    await self.transport.close()
                    self.transport = then
                return await self._found(act, index)
        raise AssertionError("unreachable")

    async def act_if_needed(self, build: Build) -> int | None:
        """Land one act as `act` does; None where the build says that nothing is left to do."""
        try:
            return await self.act(build)
        except Unneeded:
            return None

    def expect_allowed(self, payload: acts.Payload, cited: Citation | None = None) -> None:
        """Check that the rules allow an act as things stand, before other work is done for it.

        Raises:
            Refused: they do not.
        """
        self._drafted(Draft(payload, cited=cited), self.identity)

    def _drafted(self, draft: Draft, who: Identity) -> tuple[Act, State]:
        """Return the act without its sides, and the state after it; raises Refused."""
        number = self.state.numbers.get(who.member_id, 0)
        cited = draft.cited or self.citation()
        act = Act(self.vault_id, who.member_id, number, cited, draft.payload, None)
        try:
            return act, self.believed.ledger.preview(act)
        except SealroomError as error:
            raise self._as_refusal(error, who, draft) from error

    def _as_refusal(self, error: SealroomError, who: Identity, draft: Draft) -> SealroomError:
        """Tell a rule that stops this member from somebody else's lie: a preview finds no lies."""
        if isinstance(error, IntegrityError | CommitmentMismatch):
            return error
        hint = what_helps(self.state, who.member_id, type(draft.payload), error)
        return Refused(in_words(str(error), draft.payload), code=error.code, hint=hint)

    def _place(self, envelope: bytes, start: int) -> int | None:
        """Return where the verified log has an act, if it does from `start` on."""
        tree, wanted = self.believed.ledger.tree, leaf_hash(act_leaf(envelope))
        return next((at for at in range(start, tree.size) if tree.leaf(at) == wanted), None)

    def _signed(self, draft: Draft, who: Identity) -> tuple[bytes, tuple[bytes, ...]]:
        """Preview by the rules that all apply, add the sides, sign."""
        act, after = self._drafted(draft, who)
        try:
            sides = make_sides(
                who,
                act,
                self.state,
                after,
                on_record=self.believed.wraps,
                shares=self._shares(who, act, after, draft),
                created=draft.created,
            )
        except SealroomError as error:
            raise self._as_refusal(error, who, draft) from error
        act = replace(act, sides_root=sides_root(sides))
        body = act.body()
        envelope = Envelope(Label.ACT, body, who.sign(pae(Label.ACT, body)))
        return to_bytes(envelope), sides

    def _shares(self, who: Identity, act: Act, after: State, draft: Draft) -> dict[Address, Share]:
        """Open the shares that the act passes on, and no others."""
        needed = required_entries(self.state, after, act).values()
        passed_on = {a for addresses in needed for a in addresses} - draft.created.keys()
        return {a: self._share(who, a, draft.without_false) for a in passed_on}

    def _share(self, who: Identity, address: Address, without_false: bool) -> Share:
        try:
            return self.believed.key(who.member_id, address).share
        except FALSE_KEY:
            if not without_false:
                raise
            return Share(bytes(SHARE_BYTES))

    async def _found(self, envelope: bytes, index: int) -> int:
        """Return the index once the verified log has the act there, as the server said."""
        await self.sync()
        tree = self.believed.ledger.tree
        if index >= tree.size or tree.leaf(index) != leaf_hash(act_leaf(envelope)):
            raise Rollback(
                f"the server said that the act landed at {index}, and it is not there",
                hint="Keep this home as it is, and ask who runs the server.",
            )
        return index

    # --- keys

    def key(self, address: Address) -> OpenedKey:
        """Return a key that this member holds; raises as `Believed.key`."""
        return self.believed.key(self.identity.member_id, address)

    def false_keys(self, who: Identity) -> dict[Address, SealroomError]:
        """Return why each live key that an identity of this home holds, and was given false, is."""
        false: dict[Address, SealroomError] = {}
        for address in sorted(held(self.state, who.member_id)):
            try:
                self.believed.key(who.member_id, address)
            except FALSE_KEY as error:
                false[address] = error
        return false

    def holds(self, collection: bytes, number: int) -> bool:
        """Say whether this member holds a field's keys."""
        me = self.state.members[self.identity.member_id]
        return holds(me, self.state.collections[collection], number)

    def may_open(self, collection: bytes, number: int) -> bool:
        """Say whether the server has to serve this member a field: as holder, or as the buyer."""
        return may_read(self.state, self.identity.member_id, collection, number)

    def writable(self, collection: bytes, number: int) -> Address:
        """Return the newest epoch of a field, if it takes commits.

        Raises:
            Refused: there is none, or it is tainted: somebody who held its key was removed.
        """
        newest = self.state.newest(collection, number)
        if newest is None or newest.tainted:
            raise Refused(
                f"field {number} takes no new data until its key is replaced",
                code="tainted",
                hint="'sealroom vault status' says whose turn it is to replace it.",
            )
        return newest.definition.address

    async def ensure_writable(self, fields: Sequence[tuple[bytes, int]]) -> int | None:
        """Create the next epoch of each field whose newest is missing or tainted.

        Return the act's index, None where all fields take commits already. The log's head is fresh
        then: nothing is sealed for members whose removal may be hidden.

        Raises:
            Refused: this member may not create epochs, or holds not all of these fields.
            Stale: as `keep_head_fresh`.
        """
        await self.keep_head_fresh()

        def wanting(state: State) -> list[tuple[bytes, int]]:
            newest = {field: state.newest(*field) for field in fields}
            return [field for field, epoch in newest.items() if epoch is None or epoch.tainted]

        if not wanting(self.state):
            return None
        return await self.act_if_needed(lambda state: self.next_epochs(wanting(state)))

    def next_epochs(self, fields: Iterable[tuple[bytes, int]]) -> Draft:
        """Draft the next epoch of each field, with fresh keys.

        Raises:
            Unneeded: no field is named.
        """
        created: dict[Address, NewEpoch] = {}
        for collection, number in sorted(set(fields)):
            newest = self.state.newest(collection, number)
            following = 1 if newest is None else newest.definition.epoch + 1
            address = Address(collection, number, following)
            created[address] = create_epoch(self.identity, self.vault_id, address)
        if not created:
            raise Unneeded
        return Draft(acts.CreateEpoch(tuple(new.definition for new in created.values())), created)


def in_days(seconds: int) -> str:
    """Return a span of time in days, or in hours where it is less than two days."""
    if seconds >= 2 * DAY:
        return f"{seconds // DAY} days"
    hours = seconds // 3_600
    return "1 hour" if hours == 1 else f"{hours} hours"


def _moved_by(state: State) -> tuple[int, Mapping[bytes, int]]:
    """Return what changes when anybody acts, but not when the server observes."""
    return state.control_head, state.numbers
