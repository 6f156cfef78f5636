"""Keys, and the vault as a whole: rotating, freezing, the policy, the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from client import removing
from client.errors import InputError
from client.fields import Field, held_fields, make_rules, tainted_fields
from client.new_keys import new_keys
from client.people import find_member
from client.results.keys import RotatePlan, RotateResult
from client.results.log import ActResult, HeartbeatResult
from client.results.progress import OnProgress, no_progress
from client.results.vaults import NewKeys, PolicyInfo
from client.session import saying
from client.vault.face import Face
from protocol import acts
from protocol.acts import Reason
from protocol.limits import DAY, LIMITS


class Keys(Face):
    """What is done to keys, and to everything at once."""

    async def rotate(
        self,
        *,
        collection: str | None = None,
        fields: Sequence[str] | None = None,
        tainted: bool = False,
        reencrypt: bool = False,
        on_progress: OnProgress = no_progress,
    ) -> RotateResult:
        """Start new epochs: for the named fields, or all that this member holds, or the tainted.

        With `reencrypt` everything that is there is sealed anew under them, and the old ones are
        retired: the server then has nothing of these fields that the old keys open. Safe to
        repeat: what was interrupted goes on.

        Raises:
            Refused, InputError: not allowed, no such field.
            IntegrityError: some blocks do not open; all others are done.
        """
        wanted = await self._fields(collection, fields, tainted)
        if reencrypt:
            return await removing.rotate_in_full(self.session, wanted, on_progress)
        return await removing.rotate(self.session, wanted)

    async def plan_rotation(
        self,
        *,
        collection: str | None = None,
        fields: Sequence[str] | None = None,
        tainted: bool = False,
        reencrypt: bool = False,
    ) -> RotatePlan:
        """Say what `rotate` would do, for whom, and how long it may take; nothing changes."""
        wanted = await self._fields(collection, fields, tainted)
        return await removing.plan_rotation(self.session, wanted, in_full=reencrypt)

    async def _fields(
        self, collection: str | None, fields: Sequence[str] | None, tainted: bool
    ) -> list[Field]:
        await self.session.sync_as_member()
        self.session.expect_may(acts.CreateEpoch)
        where = None if collection is None else (await self._find_collection(collection)).id
        if fields is None:
            held = held_fields(self.session, where)
            closed = set(tainted_fields(self.session.state))
            return [each for each in held if each in closed] if tainted else held
        rules = await make_rules(self.session, (), fields, where)
        return [
            (rule.collection, rule.field)
            for rule in rules
            if rule.collection and rule.field is not None
        ]

    async def new_keys(self) -> NewKeys:
        """Say which fields wait for new keys as far as is known, and what this member can do."""
        return await new_keys(self.session)

    # --- the vault as a whole

    async def freeze(self, reason: Reason = Reason.OTHER) -> ActResult:
        """Stop: no block is served, and nothing but removals lands, until the owner lifts it."""
        return await self._say(acts.Freeze(reason))

    async def unfreeze(self) -> ActResult:
        """Lift a freeze."""
        return await self._say(acts.Unfreeze())

    async def destroy(self, reason: Reason = Reason.OTHER) -> ActResult:
        """End the vault for ever: the server deletes all blocks and wraps; the log stays."""
        return await self._say(acts.Destroy(reason))

    async def heartbeat(self) -> HeartbeatResult:
        """Sign the log's head, so that writers know that it is new, if they go by its signer."""
        done = await self._say(acts.Heartbeat())
        counts = self.session.signs_heads()
        return HeartbeatResult(done.kind, done.index, done.member_id, counts=counts)

    async def _say(self, payload: acts.Payload) -> ActResult:
        await self.session.sync_as_member()
        self.session.expect_may(type(payload))
        index = await self.session.act(saying(payload))
        return ActResult(acts.kind_of(payload), index, self.identity.member_id.hex())

    # --- the policy

    async def policy(self) -> PolicyInfo:
        """Return the policy in force."""
        await self.session.sync_as_member()
        return self._policy()

    async def change_policy(
        self,
        *,
        invite_days: float | None = None,
        offer_days: float | None = None,
        head_days: float | None = None,
        invite_data: bool | None = None,
        head_signers: Sequence[str] | None = None,
    ) -> PolicyInfo:
        """Change what is given, and leave the rest of the policy as it is.

        Raises:
            InputError: a number of days out of range, or nobody of a name.
            Refused: this member is not the owner.
        """
        await self.session.sync_as_member()
        self.session.expect_may(acts.ChangePolicy)
        now = self.session.state.policy
        changed = replace(
            now,
            invite_seconds=_seconds(invite_days, now.invite_seconds, LIMITS.invite_seconds),
            offer_seconds=_seconds(offer_days, now.offer_seconds, LIMITS.offer_seconds),
            head_seconds=_seconds(head_days, now.head_seconds, LIMITS.head_seconds),
            invite_data=now.invite_data if invite_data is None else invite_data,
        )
        if head_signers is not None:
            found = [await find_member(self.session, each) for each in head_signers]
            changed = replace(changed, head_signers=tuple(sorted({each.id for each in found})))
        await self.session.act(saying(acts.ChangePolicy(changed)))
        return self._policy()

    def _policy(self) -> PolicyInfo:
        now = self.session.state.policy
        return PolicyInfo(
            invite_days=now.invite_seconds / DAY,
            offer_days=now.offer_seconds / DAY,
            head_days=now.head_seconds / DAY,
            invite_data=now.invite_data,
            head_signers=tuple(each.hex() for each in now.head_signers),
        )


def _seconds(days: float | None, now: int, most: int) -> int:
    if days is None:
        return now
    seconds = int(days * DAY)
    if not 1 <= seconds <= most:
        raise InputError(f"{days} days", hint=f"At most {most // DAY} days.")
    return seconds
