"""Who may do what in a vault as it stands, for a member whom the ledger refused (SPEC 9.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from client.errors import Refused
from protocol import acts
from protocol.acts import Payload, Role
from protocol.errors import NotAuthorised, SealroomError
from protocol.ledger.parties import MemberStatus
from protocol.ledger.state import Phase, State
from protocol.ledger.transitions import TRANSITIONS

_FIRST: Final[Mapping[Phase, str]] = {
    Phase.OFFERED: "The buyer answers it, or it ends; the owner cannot take it "
    "back. 'sealroom handover status' shows to whom it is offered, and until when.",
    Phase.FROZEN: "The owner lifts it: 'sealroom unfreeze'.",
    Phase.FROZEN_OFFER: "The owner lifts the freeze: 'sealroom unfreeze'.",
    Phase.ENDED: "Its log stays: 'sealroom log' shows it.",
}
"""What has to come first, or what is left, in each phase."""

_DOING: Final[Mapping[type[Payload], str]] = {
    acts.Genesis: "making a vault",
    acts.Invite: "inviting somebody",
    acts.WithdrawInvite: "withdrawing an invite",
    acts.Join: "joining",
    acts.Confirm: "confirming a member",
    acts.ChangeRole: "changing a role",
    acts.Revoke: "removing a member",
    acts.RotateIdentity: "moving to new keys of one's own",
    acts.DefineCollection: "making a collection",
    acts.RetireCollection: "ending a collection",
    acts.CreateEpoch: "making new keys",
    acts.RetireEpoch: "retiring old keys",
    acts.Grant: "granting",
    acts.WithdrawGrant: "ending grants",
    acts.Commit: "adding records",
    acts.Erase: "erasing records",
    acts.Replace: "replacing records",
    acts.Reencrypt: "sealing anew",
    acts.Offer: "offering the vault",
    acts.Accept: "accepting the offer",
    acts.Reject: "rejecting the offer",
    acts.Expire: "ending what is over",
    acts.Freeze: "freezing the vault",
    acts.Unfreeze: "lifting a freeze",
    acts.Destroy: "destroying the vault",
    acts.ChangePolicy: "changing the policy",
    acts.Custodians: "naming custodians",
    acts.Release: "releasing a share",
    acts.Attest: "attesting",
    acts.Heartbeat: "signing the head",
    acts.Noop: "an act that does nothing",
}
"""What somebody does who signs an act, in the words of the commands."""

_READS_NONE: Final[Mapping[Role, tuple[str, str]]] = {
    Role.AUDITOR: (
        "an auditor reads no data, and no names of it",
        "You are an auditor here: 'sealroom log --verify' says who did what, 'sealroom members' "
        "who is here, and 'sealroom collection list' how much there is, all by ids.",
    ),
    Role.KEYLESS_ADMIN: (
        "a keyless-admin reads no data",
        "You are a keyless-admin here: names open to you, as 'sealroom collection list' shows. "
        "Data is read by the owner, and by admins and bidders who were granted it.",
    ),
}
"""Why those read nothing whose role holds no data whatever is granted, and what they can do."""


def in_words(message: str, payload: Payload) -> str:
    """Return a refusal's message with the user's word for the act in place of the protocol's."""
    return message.replace(f"({acts.kind_of(payload)})", f"({_DOING[type(payload)]})")


def phase_at(state: State, time: int) -> Phase:
    """Return the phase that an act citing this time finds: an offer that is over binds nobody."""
    if state.offer is not None and time > state.offer.expiry:
        state = replace(state, offer=None)
    return state.phase


def who_may(kind: type[Payload]) -> str:
    """Return whose roles may ever do this, in words."""
    roles = TRANSITIONS[kind].roles
    if Role.ADMIN in roles:
        return f"the owner, or an admin{'' if Role.KEYLESS_ADMIN in roles else ' with keys'}"
    return "the owner" if Role.OWNER in roles else "the bidder to whom the vault is offered"


def your_role(role: Role) -> str:
    """Return a member's role in words that are said to that member."""
    article = "an" if role in (Role.ADMIN, Role.AUDITOR) else "the" if role is Role.OWNER else "a"
    return f"You are {article} {role} here"


def expect_reader(state: State, member_id: bytes) -> None:
    """Refuse at once to read anything for a member whose role holds no data, whatever is named.

    Raises:
        Refused: it is such a member; what it can do instead is told.
    """
    member = state.members.get(member_id)
    if member is not None and member.role in _READS_NONE:
        why, instead = _READS_NONE[member.role]
        raise Refused(why, code="not_authorised", hint=instead)


def what_helps(
    state: State, member_id: bytes, kind: type[Payload], error: SealroomError
) -> str | None:
    """Return what helps a member who was refused this kind of act: None where the error says all.

    In this order: who may, where its role never may; to be confirmed; what has to come first.
    """
    row, member = TRANSITIONS[kind], state.members.get(member_id)
    if error.hint is not None or member is None or not member.live:
        return error.hint
    if member.role not in row.roles:
        return f"{your_role(member.role)}: this is for {who_may(kind)}."
    if row.confirmed and member.status is not MemberStatus.CONFIRMED:
        return "Have the owner or an admin compare the twelve words with you, and confirm you."
    if state.phase not in row.phases:
        return _FIRST.get(state.phase)
    return f"{your_role(member.role)}." if isinstance(error, NotAuthorised) else None
