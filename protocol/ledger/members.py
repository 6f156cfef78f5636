"""Transitions on members and invites (SPEC section 9.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from protocol import acts
from protocol.acts import NO_VAULT, Role, Rule
from protocol.blocks import PEOPLE_COLLECTION, Address, is_catalog
from protocol.errors import Conflict, LimitExceeded, NotAuthorised, OutOfOrder, Unsupported
from protocol.identity import (
    IdentityCard,
    PublicIdentity,
    join_context,
    rotation_context,
    verify_card,
)
from protocol.labels import Label, digest
from protocol.ledger.contents import Collection
from protocol.ledger.holders import CATALOG_ROLES, DATA_ROLES, covers, held, is_keyed
from protocol.ledger.parties import InviteState, InviteStatus, Member, MemberStatus
from protocol.ledger.state import Phase, State
from protocol.limits import LIMITS
from protocol.wire import to_bytes

ADMIN_ROLES = frozenset({Role.ADMIN, Role.KEYLESS_ADMIN})


def genesis(act: acts.Act, payload: acts.Genesis, vault_id: bytes) -> State:
    """Return the first state: the owner alone, no collection but the people catalog."""
    if payload.suite != acts.SUITE:
        raise Unsupported(f"suite {payload.suite}", hint="Update sealroom.")
    if payload.policy.head_signers:
        raise NotAuthorised("a genesis knows no member who could sign heads")
    owner = verify_card(payload.owner, NO_VAULT)
    return State(
        vault_id=vault_id,
        suite=payload.suite,
        policy=payload.policy,
        server_key=payload.server_key,
        owner=owner.member_id,
        size=1,
        control_head=0,
        members={
            owner.member_id: Member(owner, Role.OWNER, MemberStatus.CONFIRMED, (), (), 0, None)
        },
        collections={PEOPLE_COLLECTION: Collection(PEOPLE_COLLECTION, ())},
        numbers={act.author: 1},
        seen_keys=_key_hashes(owner),
    )


def invite(state: State, act: acts.Act, payload: acts.Invite, at: int) -> State:
    """Open an invite: catalogs only, data where policy lets it, for a bounded time."""
    identity = enrolled(state, payload.card, state.vault_id)
    if payload.role is Role.OWNER:
        raise NotAuthorised("nobody is invited as owner")
    _owner_for_admins(state, act.author, payload.role, "invites")
    _check_rules(state, payload.role, payload.rules)
    if payload.carries_data:
        if not state.policy.invite_data:
            raise NotAuthorised("the vault's policy lets no invite carry data")
        _check_covered(state, act.author, payload.rules)
    if sum(each.live for each in state.invites.values()) >= LIMITS.open_invites:
        raise LimitExceeded("too many open invites")
    cited = act.cited_time
    if not cited < payload.expiry <= cited + state.policy.invite_seconds:
        raise OutOfOrder(
            f"an invite ends within {state.policy.invite_seconds // 86_400} days of its making"
        )
    opened = InviteState(
        identity,
        payload.role,
        InviteStatus.OPEN,
        payload.rules,
        payload.carries_data,
        payload.expiry,
        payload.access_key,
        act.author,
        at,
    )
    # Whoever reads with the access key is found by it, so it stands for one invite only.
    access_key = digest(Label.MEMBER_ID, payload.access_key)
    seen = with_seen(state, identity)
    if access_key in seen.seen_keys:
        raise Conflict("an access key that was seen in this vault before")
    return replace(seen, seen_keys=seen.seen_keys | {access_key}).with_invite(opened)


def withdraw_invite(state: State, act: acts.Act, payload: acts.WithdrawInvite, at: int) -> State:
    """Close an open invite and taint the data epochs it carried."""
    found = state.invites.get(payload.invite)
    if found is None or not found.live:
        raise OutOfOrder("no open invite with that id")
    _owner_for_admins(state, act.author, found.role, "withdraws the invite of")
    return close_invite(state, found, InviteStatus.WITHDRAWN)


def join(state: State, act: acts.Act, payload: acts.Join, at: int) -> State:
    """Turn an open invite into an unconfirmed member that holds what the invite held."""
    used = state.invites[act.author]
    if act.cited_time > used.expiry:
        raise OutOfOrder("the invite has expired", hint="Ask for a new one.")
    if sum(each.live for each in state.members.values()) >= LIMITS.members:
        raise LimitExceeded("too many members")
    identity = enrolled(state, payload.card, join_context(state.vault_id, used.id))
    member = Member(
        identity, used.role, MemberStatus.UNCONFIRMED, used.rules, used.planned, at, used.id
    )
    closed = close_invite(state, used, InviteStatus.USED)
    return with_seen(closed, identity).with_member(member)


def confirm(state: State, act: acts.Act, payload: acts.Confirm, at: int) -> State:
    """Confirm a member whose words were compared; what its invite planned comes into force."""
    member = _member(state, payload.member)
    if member.status is not MemberStatus.UNCONFIRMED:
        raise OutOfOrder("that member is not waiting to be confirmed")
    _owner_for_admins(state, act.author, member.role, "confirms")
    _check_covered(state, act.author, member.planned)
    rules = tuple(sorted({*member.rules, *member.planned}, key=rule_order))
    return state.with_member(
        replace(member, status=MemberStatus.CONFIRMED, rules=rules, planned=())
    )


def change_role(state: State, act: acts.Act, payload: acts.ChangeRole, at: int) -> State:
    """Give a confirmed member another role; grants that the role may not hold end, tainted."""
    member = _confirmed(state, payload.member)
    if Role.OWNER in (member.role, payload.role):
        raise NotAuthorised("ownership changes by handover only")
    if member.role is payload.role:
        raise OutOfOrder(f"that member is {payload.role} already")
    rules = member.rules if payload.role in DATA_ROLES else ()
    changed = _with_less(state, replace(member, role=payload.role, rules=rules))
    if is_keyed(payload.role):
        return changed
    changed = changed.without_uploads(member.id)
    return _without_invites(changed, member.id, data_only=payload.role in CATALOG_ROLES)


def revoke(state: State, act: acts.Act, payload: acts.Revoke, at: int) -> State:
    """Remove a member at once: taint all it held, void its invites and unfinished uploads."""
    member = _member(state, payload.member)
    if member.role is Role.OWNER:
        raise NotAuthorised("nobody revokes the owner")
    _owner_for_admins(state, act.author, member.role, "revokes")
    if state.offer is not None and state.offer.buyer == member.id:
        raise OutOfOrder("the handover offer to that member is open")
    return remove(state, member, at)


def remove(state: State, member: Member, at: int) -> State:
    """Take a member out, as revoke and accept do (SPEC section 9.3).

    Its open invites carry nothing beside data but catalogs that it holds itself, as an admin.
    """
    gone = replace(member, status=MemberStatus.REVOKED, rules=(), planned=(), removed_at=at)
    return _cut_off(state, member).with_member(gone)


def rotate_identity(state: State, act: acts.Act, payload: acts.RotateIdentity, at: int) -> State:
    """Put a new identity in a member's place, with all that it held; the old one is dead.

    Whoever had the old keys may have made the new ones, so the words are compared anew before
    the member acts again; only the owner, whom nobody confirms, goes on as it is.
    """
    old = state.members[act.author]
    if old.id != state.owner and state.phase is not Phase.OPEN:
        raise OutOfOrder(f"only the owner rotates its identity while the vault is {state.phase}")
    if payload.dealing is not None:
        _check_rebuilt(state, old, payload.dealing)
    identity = enrolled(state, payload.card, rotation_context(state.vault_id, old.id))
    status = MemberStatus.UNCONFIRMED
    if old.id == state.owner:
        status = MemberStatus.CONFIRMED
        # What custodians hold shares of is the old seed.
        state = replace(state, owner=identity.member_id, recovery=None)
    state = with_seen(_cut_off(state, old), identity)
    new = replace(old, identity=identity, status=status, joined_at=at, predecessor=old.id)
    gone = replace(
        old,
        status=MemberStatus.REPLACED,
        rules=(),
        planned=(),
        removed_at=at,
        successor=identity.member_id,
    )
    return state.with_member(gone).with_member(new)


def _check_rebuilt(state: State, old: Member, dealing: int) -> None:
    recovery = state.recovery
    if recovery is None or recovery.at != dealing or recovery.owner != old.id:
        raise OutOfOrder("a dealing that is not this owner's")
    if not recovery.rebuilt:
        raise OutOfOrder("fewer shares were released than it takes to rebuild")


def _without_head_signer(state: State, member: bytes) -> State:
    """Return the state in which this member's acts tell writers nothing of the log's age."""
    policy = state.policy
    if member not in policy.head_signers:
        return state
    kept = tuple(each for each in policy.head_signers if each != member)
    return replace(state, policy=replace(policy, head_signers=kept))


def _cut_off(state: State, member: Member) -> State:
    """Taint all that a member held, and end what it had begun."""
    lost = held(state, member.id) | member.kept
    state = _without_invites(state, member.id).without_uploads(member.id)
    return _without_head_signer(state, member.id).tainted(lost)


def grant(state: State, act: acts.Act, payload: acts.Grant, at: int) -> State:
    """Give a confirmed member rules, over all live and later epochs."""
    member = _confirmed(state, payload.member)
    _check_rules(state, member.role, payload.rules)
    _check_covered(state, act.author, payload.rules)
    if set(payload.rules) <= set(member.rules):
        raise OutOfOrder("that member has these grants already")
    rules = tuple(sorted({*member.rules, *payload.rules}, key=rule_order))
    return state.with_member(replace(member, rules=rules))


def withdraw_grant(state: State, act: acts.Act, payload: acts.WithdrawGrant, at: int) -> State:
    """End rules of a member, planned ones too; taint the data epochs it no longer holds."""
    member = _member(state, payload.member)
    _owner_for_admins(state, act.author, member.role, "withdraws grants of")
    gone = set(payload.rules)
    if not gone <= {*member.rules, *member.planned}:
        raise OutOfOrder(
            "that member has no such grant",
            hint="A grant ends as it was made: a class as a class, a field as a field.",
        )
    less = replace(
        member,
        rules=tuple(rule for rule in member.rules if rule not in gone),
        planned=tuple(rule for rule in member.planned if rule not in gone),
    )
    return _without_invites(_with_less(state, less), member.id, data_only=True)


def close_invite(state: State, found: InviteState, status: InviteStatus) -> State:
    """End an open invite; data epochs that it carried are tainted, catalogs are not."""
    carried = _of_data(held(state, found.id))
    return state.with_invite(replace(found, status=status)).tainted(carried)


def rule_order(rule: Rule) -> bytes:
    """Order rules as acts list them, for a state that does not depend on the order of acts."""
    return to_bytes(rule)


def _owner_for_admins(state: State, author: bytes, role: Role, verb: str) -> None:
    """Keep admins from making, or removing, each other: one of them alone is not trusted so far."""
    if role in ADMIN_ROLES and author != state.owner:
        raise NotAuthorised(f"only the owner {verb} an admin", hint="Ask the owner.")


def _with_less(state: State, member: Member) -> State:
    """Put a member's new role or rules in force; taint the data epochs it no longer holds."""
    changed = state.with_member(member)
    lost = held(state, member.id) - held(changed, member.id)
    changed = changed.with_member(replace(member, kept=member.kept | lost))
    return changed.tainted(_of_data(lost))


def _without_invites(state: State, inviter: bytes, *, data_only: bool = False) -> State:
    """Void open invites whose secrets a member knows that may no longer read what they carry."""
    for made in state.invites.values():
        if made.live and made.inviter == inviter and (made.carries_data or not data_only):
            state = close_invite(state, made, InviteStatus.VOID)
    return state


def _of_data(addresses: Iterable[Address]) -> set[Address]:
    return {address for address in addresses if not is_catalog(address.field)}


def _check_rules(state: State, role: Role, rules: tuple[Rule, ...]) -> None:
    if rules and role not in DATA_ROLES:
        raise NotAuthorised(
            f"the role {role} holds no data", hint="Admins and bidders are granted data."
        )
    for rule in rules:
        if rule.collection is None:
            continue
        where = state.collections.get(rule.collection)
        if where is None or where.id == PEOPLE_COLLECTION:
            raise OutOfOrder("a rule for a collection that is not there")
        if rule.field is not None and not where.has(rule.field):
            raise OutOfOrder("a rule for a field that is not there")


def _check_covered(state: State, giver: bytes, rules: tuple[Rule, ...]) -> None:
    """Refuse rules beyond what their giver holds, also where no epoch would show it yet."""
    member = state.members[giver]
    if not all(covers(state, member, rule) for rule in rules):
        raise NotAuthorised("who grants data holds all of it", hint="Ask the owner.")


def enrolled(state: State, card: IdentityCard, context: bytes) -> PublicIdentity:
    """Return a new identity, proved for this context, none of whose keys was ever seen here.

    Raises:
        Conflict: one was.
        IntegrityError, MalformedMessage: the card does not prove it for this context.
    """
    identity = verify_card(card, context)
    if _key_hashes(identity) & state.seen_keys:
        raise Conflict(
            "a key that was seen in this vault before", hint="Make a new identity and try again."
        )
    return identity


def with_seen(state: State, identity: PublicIdentity) -> State:
    """Return the state in which nobody else brings one of these keys."""
    return replace(state, seen_keys=state.seen_keys | _key_hashes(identity))


def _key_hashes(identity: PublicIdentity) -> frozenset[bytes]:
    keys = identity.keys()
    return frozenset(digest(Label.MEMBER_ID, key) for key in keys)


def _member(state: State, member_id: bytes) -> Member:
    member = state.members.get(member_id)
    if member is None or not member.live:
        raise OutOfOrder("no such member, or it was removed")
    return member


def _confirmed(state: State, member_id: bytes) -> Member:
    member = _member(state, member_id)
    if member.status is not MemberStatus.CONFIRMED:
        raise OutOfOrder(
            "that member is not confirmed yet", hint="Compare the twelve words, then confirm it."
        )
    return member
