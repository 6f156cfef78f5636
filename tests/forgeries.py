"""Acts that nobody entitled signed, each made for a log of the server's own (K1 to K4, K16, H7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from client.crypto.identity import Identity
from client.crypto.sharing import deal
from client.crypto.wraps import create_epoch
from client.inviting import invite_behind
from client.links import parse_link
from protocol import acts
from protocol.acts import Dealing, Reason
from protocol.errors import ContextMismatch, IntegrityError, NotAuthorised, VerificationFailed
from protocol.identity import rotation_context
from protocol.labels import Label
from protocol.ledger import act_leaf
from protocol.wire import Envelope, pae, to_bytes
from tests.company import Company
from tests.forging import CORE, GHOST, bidder, following
from tests.liars import ForgedLog, Signed
from tests.world import joining, of_class

Forgery = Callable[[Company, ForgedLog], Awaitable[Signed]]


async def by_a_stranger(cast: Company, log: ForgedLog) -> Signed:
    return log.spoken(GHOST, acts.Grant(GHOST.member_id, (of_class(CORE),)))


async def in_the_owners_name(cast: Company, log: ForgedLog) -> Signed:
    owner = (await cast("olga")).identity
    act = log.draft(owner, acts.Revoke(bidder(log, confirmed=True), Reason.LEFT))
    return log.signed(owner, act, by=GHOST)


async def join_in_the_invites_name(cast: Company, log: ForgedLog) -> Signed:
    invite, _ = invite_behind((await cast("olga")).session, parse_link(cast.link).secret)
    act = log.draft(invite, joining(GHOST, log.vault_id, invite))
    return log.signed(invite, act, by=GHOST)


async def join_with_a_card_for_another_invite(cast: Company, log: ForgedLog) -> Signed:
    """Ivy enrols somebody whose own join the server holds back, in ivy's role."""
    invite, _ = invite_behind((await cast("olga")).session, parse_link(cast.link).secret)
    return log.spoken(invite, joining(GHOST, log.vault_id, (await cast("bo")).identity))


async def confirm_by_the_server(cast: Company, log: ForgedLog) -> Signed:
    owner = (await cast("olga")).identity
    act = log.draft(owner, acts.Confirm(bidder(log, confirmed=False)))
    return log.signed(owner, act, by=GHOST)


async def epoch_in_the_owners_name(cast: Company, log: ForgedLog) -> Signed:
    owner = (await cast("olga")).identity
    made = create_epoch(GHOST, log.vault_id, following(log, 0))
    return log.signed(owner, log.draft(owner, acts.CreateEpoch((made.definition,))), by=GHOST)


async def epoch_by_a_stranger(cast: Company, log: ForgedLog) -> Signed:
    made = create_epoch(GHOST, log.vault_id, following(log, 0))
    return log.spoken(GHOST, acts.CreateEpoch((made.definition,)))


async def custodians_in_the_owners_name(cast: Company, log: ForgedLog) -> Signed:
    """The server says that recovery is on, and names who is to have the keys: itself."""
    owner = (await cast("olga")).identity
    return log.signed(owner, log.draft(owner, acts.Custodians(ghostly(log))), by=GHOST)


async def custodians_by_an_admin(cast: Company, log: ForgedLog) -> Signed:
    return log.spoken((await cast("ada")).identity, acts.Custodians(ghostly(log)))


async def owner_replaced_by_the_server(cast: Company, log: ForgedLog) -> Signed:
    owner = (await cast("olga")).identity
    card = GHOST.card(rotation_context(log.vault_id, owner.member_id))
    return log.signed(owner, log.draft(owner, acts.RotateIdentity(card, None)), by=GHOST)


def ghostly(log: ForgedLog) -> Dealing:
    return deal(GHOST, log.vault_id, [GHOST.public, Identity.generate().public], 2)


async def act_of_another_vault(cast: Company, log: ForgedLog) -> Signed:
    owner = (await cast("olga")).identity
    return log.signed(owner, replace(log.draft(owner, acts.Noop()), vault_id=bytes(32)))


async def signed_as_something_else(cast: Company, log: ForgedLog) -> Signed:
    owner = (await cast("olga")).identity
    body = log.draft(owner, acts.Noop()).body()
    envelope = Envelope(Label.OBSERVATION, body, owner.sign(pae(Label.OBSERVATION, body)))
    return Signed(act_leaf(to_bytes(envelope)))


async def neither_act_nor_observation(cast: Company, log: ForgedLog) -> Signed:
    return Signed(b"\x03" + bytes(32))


async def sides_beside_an_observation(cast: Company, log: ForgedLog) -> Signed:
    return Signed(b"\x02" + bytes(32), (b"part",))


async def a_second_genesis(cast: Company, log: ForgedLog) -> Signed:
    return Signed(log.leaves[0].leaf)


FORGERIES: dict[str, list[tuple[Forgery, type[VerificationFailed]]]] = {
    "K1": [
        (join_in_the_invites_name, IntegrityError),
        (join_with_a_card_for_another_invite, IntegrityError),
    ],
    "K2": [(confirm_by_the_server, IntegrityError)],
    "K3": [(epoch_in_the_owners_name, IntegrityError), (epoch_by_a_stranger, NotAuthorised)],
    "K4": [(by_a_stranger, NotAuthorised), (in_the_owners_name, IntegrityError)],
    "K16": [
        (custodians_in_the_owners_name, IntegrityError),
        (custodians_by_an_admin, NotAuthorised),
        (owner_replaced_by_the_server, IntegrityError),
    ],
    "H7": [(act_of_another_vault, ContextMismatch), (a_second_genesis, ContextMismatch)],
    "K11": [
        (signed_as_something_else, NotAuthorised),
        (neither_act_nor_observation, NotAuthorised),
        (sides_beside_an_observation, NotAuthorised),
    ],
}
