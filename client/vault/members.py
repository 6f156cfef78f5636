"""Inviting, confirming, granting, changing roles, removing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from client import inviting, people, removing
from client.errors import InputError, Refused
from client.fields import make_rules
from client.links import Link
from client.results.keys import RevokePlan, RevokeResult, Undone
from client.results.log import ActResult
from client.results.people import ConfirmResult, InviteResult, MemberInfo
from client.results.progress import OnProgress, no_progress
from client.session import saying
from client.vault.data import DATA_CLASSES
from client.vault.face import Face
from protocol import acts
from protocol.acts import Reason, Role, Rule
from protocol.blocks import FieldClass
from protocol.ledger.members import ADMIN_ROLES, rule_order
from protocol.ledger.parties import InviteState
from protocol.limits import DAY

DEFAULT_DAYS: Final = 14


class Members(Face):
    """Who may do what."""

    async def invite(
        self,
        role: Role,
        *,
        name: str,
        classes: Sequence[FieldClass] | None = None,
        days: float = DEFAULT_DAYS,
    ) -> InviteResult:
        """Invite somebody; the classes are what confirming will grant.

        Without classes an admin gets all of them, a bidder none. Raises Refused, InputError.
        """
        if classes is None:
            classes = DATA_CLASSES if role is Role.ADMIN else ()
        await self.session.sync_as_member()
        self.session.expect_may(acts.Invite)
        rules = await make_rules(self.session, classes, (), None)
        return await self._invited(role, rules, name, days)

    async def _invited(
        self, role: Role, rules: tuple[Rule, ...], name: str, days: float
    ) -> InviteResult:
        name = name.strip()
        made = await inviting.invite(self.session, role, rules, name, int(days * DAY))
        host = self.server.removeprefix("https://")
        classes = sorted({rule.field_class for rule in rules if rule.field_class is not None})
        return InviteResult(
            link=Link(host, self.session.vault_id, made.secret, self.pin).text(),
            invite_id=made.invite.id.hex(),
            name=name,
            role=role.value,
            classes=tuple(each.name.lower() for each in classes),
            expires=made.invite.expiry,
        )

    async def confirm(
        self,
        member: str,
        *,
        words: str | None = None,
        yes: bool = False,
        classes: Sequence[FieldClass] = (),
    ) -> ConfirmResult:
        """Confirm a member whose words were compared, and make the grants its invite planned.

        Of what was planned the `classes` have to be said that the inviter could not grant itself:
        `persons` lists them as `beyond`. Raises as `client.inviting.confirm`.
        """
        await self.session.sync_as_member()
        self.session.expect_may(acts.Confirm)
        found = await people.find_member(self.session, member)
        done = await inviting.confirm(self.session, found, words=words, yes=yes, classes=classes)
        return replace(done, name=member)

    async def persons(self, members: Sequence[str]) -> tuple[MemberInfo, ...]:
        """Return whom names, ids or beginnings of ids lead to, in their order.

        For whoever is to see, before an act, who it would be for. Raises InputError.
        """
        await self.session.sync_as_member()
        found = [await people.find_member(self.session, each) for each in members]
        return await people.describe(self.session, found)

    async def words(self, member: str) -> str:
        """Return the twelve words to compare with a member."""
        await self.session.sync_as_member()
        found = await people.find_member(self.session, member)
        return people.words_with(self.session, found.id)

    async def grant(
        self,
        member: str,
        *,
        classes: Sequence[FieldClass] = (),
        fields: Sequence[str] = (),
        collection: str | None = None,
    ) -> ActResult:
        """Grant classes or fields to a confirmed member, with every live key they cover."""
        return await self._regrant(member, classes, fields, collection, withdraw=False)

    async def withdraw_grant(
        self,
        member: str,
        *,
        classes: Sequence[FieldClass] = (),
        fields: Sequence[str] = (),
        collection: str | None = None,
    ) -> ActResult:
        """End grants of a member; the epochs it could read take no more commits."""
        return await self._regrant(member, classes, fields, collection, withdraw=True)

    async def _regrant(
        self,
        member: str,
        classes: Sequence[FieldClass],
        fields: Sequence[str],
        collection: str | None,
        *,
        withdraw: bool,
    ) -> ActResult:
        if not classes and not fields:
            raise InputError("nothing named", hint="Give --classes or --fields.")
        kind = acts.WithdrawGrant if withdraw else acts.Grant
        await self.session.sync_as_member()
        self.session.expect_may(kind)
        found = await people.find_member(self.session, member)
        where = None if collection is None else (await self._find_collection(collection)).id
        rules = await make_rules(self.session, classes, fields, where)
        payload = kind(found.id, rules)
        index = await self.session.act(saying(payload))
        return ActResult(acts.kind_of(payload), index, found.id.hex(), member)

    async def withdraw_invite(self, invite: str) -> ActResult:
        """Close an open invite."""
        await self.session.sync_as_member()
        self.session.expect_may(acts.WithdrawInvite)
        found = await people.find_party(self.session, invite)
        if not isinstance(found, InviteState):
            raise InputError(
                f"{invite!r} has joined already",
                hint="Name --classes or --fields to end grants, or revoke the member.",
            )
        index = await self.session.act(saying(acts.WithdrawInvite(found.id)))
        return ActResult("withdraw-invite", index, found.id.hex(), invite)

    async def change_role(
        self, member: str, role: Role, *, words: str | None = None, yes: bool = False
    ) -> ActResult:
        """Give a confirmed member another role.

        Whoever becomes an admin, with keys or without, has had its words compared in this home,
        under the name that it goes by: what an admin sees and does is not taken back. Not who is
        an admin with keys, and is to have none.

        Raises:
            PinMismatch: the words differ.
            Refused: they were not compared; or not allowed.
        """
        await self.session.sync_as_member()
        self.session.expect_may(acts.ChangeRole)
        found = await people.find_member(self.session, member)
        change = acts.ChangeRole(found.id, role)
        self.session.expect_allowed(change)
        if role in ADMIN_ROLES and found.role is not Role.ADMIN:
            await self._expect_compared(found.id, words, yes)
        index = await self.session.act(saying(change))
        return ActResult("change-role", index, found.id.hex(), member)

    async def _expect_compared(self, member: bytes, words: str | None, yes: bool) -> None:
        lacking = await people.lacks_comparison(self.session, member, words, yes)
        if lacking is not None:
            raise Refused(
                f"the twelve words {lacking}",
                code="not_compared",
                hint="An admin is trusted with much: ask for theirs by voice, then give them with "
                f"--words. Yours are: {people.words_with(self.session, member)}",
            )

    async def revoke(
        self,
        member: str,
        reason: Reason = Reason.OTHER,
        *,
        reencrypt: bool = False,
        reinvite: bool = False,
        days: float = DEFAULT_DAYS,
        on_progress: OnProgress = no_progress,
    ) -> RevokeResult:
        """Remove a member at once, then replace the keys it held, as far as one may.

        With `reencrypt` what it could read is sealed anew too, and the old keys are retired. With
        `reinvite` it gets a new invite with the role, the name and the grants that it had, for
        somebody whose keys were lost or stolen. What cannot be done now, because the vault is
        offered or frozen, the result calls `undone`. Safe to repeat: it then does the rest.
        """
        await self.session.sync_as_member()
        self.session.expect_may(acts.Revoke)
        found = await people.find_member(self.session, member, removed=True)
        before = found
        if found.removed_at is not None:
            before = self.session.believed.state_at(found.removed_at).members[found.id]
        done = await removing.revoke(
            self.session, found, reason, in_full=reencrypt, on_progress=on_progress
        )
        if not reinvite:
            return done
        if removing.invites_wait(self.session):
            return replace(done, undone=(*done.undone, Undone.REINVITE))
        known = {None, *self.session.state.collections}
        rules = {each for each in (*before.rules, *before.planned) if each.collection in known}
        invited = await self._invited(
            before.role, tuple(sorted(rules, key=rule_order)), done.name or member, days
        )
        return replace(done, invited=invited)

    async def plan_revocation(
        self, member: str, *, reencrypt: bool = False, reinvite: bool = False
    ) -> RevokePlan:
        """Say what `revoke` would do, and what the member could and did read; nothing changes."""
        await self.session.sync_as_member()
        self.session.expect_may(acts.Revoke)
        found = await people.find_member(self.session, member)
        return await removing.plan_revocation(
            self.session, found, in_full=reencrypt, reinvited=reinvite
        )
