"""Inviting, joining, confirming (SPEC sections 4.3 and 9.3)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from client.crypto.identity import Identity
from client.crypto.invites import fresh_invite_secret, invite_access_key, invite_identity
from client.crypto.secrets import InviteSecret
from client.errors import InputError, Refused
from client.people import PEOPLE, describe, lacks_comparison, words_with, write_person
from client.planned import beyond_planner
from client.results.people import ConfirmResult
from client.session import ATTEMPTS, Build, Draft, Session, saying
from client.transport import Transport
from protocol import acts
from protocol.acts import Citation, Role, Rule
from protocol.blocks import FieldClass
from protocol.errors import NotAuthorised, StaleAct
from protocol.identity import join_context
from protocol.ledger.parties import InviteState, Member
from protocol.ledger.state import State


@dataclass(frozen=True, slots=True)
class MadeInvite:
    """An invite that landed, with the secret that its link carries."""

    secret: InviteSecret
    invite: InviteState


async def invite(
    session: Session, role: Role, rules: tuple[Rule, ...], name: str, seconds: int
) -> MadeInvite:
    """Invite somebody: name first, then the act, so that no invite stands without a name.

    Raises:
        Refused: this role may not invite, or not such a role or so long.
    """
    if not name.strip():
        raise InputError("an invite needs a name", hint="Give --name.")
    secret = fresh_invite_secret()
    for attempt in range(ATTEMPTS):
        await session.sync()
        await session.ensure_writable([PEOPLE])
        draft = _invite_draft(session, session.state, secret, role, rules, seconds)
        session.expect_allowed(draft.payload, draft.cited)
        assert isinstance(draft.payload, acts.Invite)
        party = draft.payload.card.identity.member_id
        await write_person(session, party, name)
        try:
            await session.act(_always(draft))
        except Refused as refused:
            if refused.refusal != StaleAct.code or attempt == ATTEMPTS - 1:
                raise
        else:
            return MadeInvite(secret, session.state.invites[party])
    raise AssertionError("unreachable")


def _always(draft: Draft) -> Build:
    return lambda _: draft


def _invite_draft(
    session: Session,
    state: State,
    secret: InviteSecret,
    role: Role,
    rules: tuple[Rule, ...],
    seconds: int,
) -> Draft:
    cited = session.citation()
    expiry = cited.time + seconds
    identity = invite_identity(
        secret, state.vault_id, session.identity.member_id, role, expiry, cited.size, cited.root
    )
    access = bytes(invite_access_key(secret).verify_key)
    payload = acts.Invite(identity.card(state.vault_id), role, rules, False, expiry, access)
    return Draft(payload, cited=cited)


def invite_behind(session: Session, secret: InviteSecret) -> tuple[Identity, InviteState]:
    """Find the invite that a link's secret stands for, and check that it re-derives.

    Guarantees that the log up to the invite is what its inviter saw, since the identity
    binds vault, inviter, role, expiry and that log (SPEC section 4.3).

    Raises:
        Refused: no such invite, or it is used, withdrawn or expired.
        NotAuthorised: an act that claims the link's access key, but not its identity.
    """
    access = bytes(invite_access_key(secret).verify_key)
    for found in session.state.invites.values():
        if found.access_key != access:
            continue
        act = session.believed.acts[found.made_at]
        cited: Citation | None = None if act is None else act.cited
        assert cited is not None
        seen = (cited.size, cited.root)
        identity = invite_identity(
            secret, session.vault_id, found.inviter, found.role, found.expiry, *seen
        )
        if identity.member_id != found.id:
            raise NotAuthorised(
                "the invite on the server is not the one that the link was made for",
                hint="Do not join. Ask the inviter for a new link, by another way.",
            )
        if not found.live:
            raise Refused(
                f"the invite was {found.status}",
                code="invite_closed",
                hint="Ask for a new one.",
            )
        if session.citation().time > found.expiry:  # which no act has said yet
            raise Refused("the invite has expired", code="invite_closed", hint="Ask for a new one.")
        return identity, found
    raise Refused(
        "the link is not of an invite of this vault", code="not_found", hint="Ask for a new one."
    )


async def join(session: Session, through: Identity, as_member: Transport) -> int:
    """Join with an invite: its catalogs are rewrapped to this member in the same act."""
    card = session.identity.card(join_context(session.vault_id, through.member_id))
    payload = acts.Join(card)
    return await session.act(saying(payload), author=through, then=as_member)


async def confirm(
    session: Session,
    member: Member,
    *,
    words: str | None,
    yes: bool,
    classes: Collection[FieldClass] = (),
) -> ConfirmResult:
    """Confirm a member whose words were compared; its planned grants are made in the same act.

    What its inviter could not have granted itself is only made if `classes` say it: an invite may
    plan anything, and whoever compares words says who somebody is, not what it may read.

    Raises:
        PinMismatch: the words differ.
        Refused: they were not compared, or not under the name that it goes by; a class was not
            said; or this member lacks a key that the plan names.
    """
    (told,) = await describe(session, [member])
    unsaid = [each for each in beyond_planner(session.state, member) if each not in classes]
    if unsaid:
        names = ",".join(each.name.lower() for each in unsaid)
        raise Refused(
            f"confirming would grant {', '.join(told.planned)}, as {told.planned_by} planned, who "
            f"could not grant {names} itself",
            code="not_said",
            hint=f"If it is meant, say so with --classes {names}. If not, the owner or an admin "
            f"ends the plan first: 'sealroom withdraw MEMBER --classes {names}'.",
        )
    lacking = await lacks_comparison(session, member.id, words, yes)
    if lacking is not None:
        plan = f"Confirming grants {', '.join(told.planned)}. " if told.planned else ""
        raise Refused(
            f"the twelve words {lacking}",
            code="not_compared",
            hint=f"{plan}Ask for theirs by voice, then give them with --words. "
            f"Yours are: {words_with(session, member.id)}",
        )
    act = acts.Confirm(member.id)
    index = await session.act(saying(act))
    return ConfirmResult(
        kind=acts.kind_of(act),
        index=index,
        member_id=member.id.hex(),
        name=told.name,
        granted=told.planned,
        planned_by=told.planned_by,
    )
