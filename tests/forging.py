"""What tests of forged logs look up in them."""

from __future__ import annotations

from client.crypto.identity import Identity
from client.vault import Vault
from protocol.acts import Role
from protocol.blocks import PEOPLE_COLLECTION, Address, FieldClass
from tests.company import Actor, Company
from tests.liars import ForgedLog

GENERAL, SENSITIVE, CORE = FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE
GHOST = Identity.generate()


async def forged(cast: Company, size: int | None = None) -> ForgedLog:
    return await ForgedLog.of(cast.lab, (await cast("olga")).session, size)


def kinds(vault: Vault) -> list[str]:
    return ["observation" if act is None else act.kind for act in vault.session.believed.acts]


def customers(log: ForgedLog) -> bytes:
    return next(each for each in log.state.collections if each != PEOPLE_COLLECTION)


def newest(log: ForgedLog, number: int) -> Address:
    found = log.state.newest(customers(log), number)
    assert found is not None
    return found.definition.address


def following(log: ForgedLog, number: int) -> Address:
    address = newest(log, number)
    return Address(address.collection, address.field, address.epoch + 1)


def bidder(log: ForgedLog, *, confirmed: bool) -> bytes:
    """Return bo, or una, who was not confirmed."""
    live = [m for m in log.state.members.values() if m.role is Role.BIDDER and m.live]
    return next(m.id for m in live if bool(m.planned) is not confirmed)


def opens(actor: Actor, address: Address) -> None:
    """Check that somebody holds a key, and that it is the published one."""
    assert len(actor.session.key(address).key.expose()) == 32


def auditor(log: ForgedLog) -> bytes:
    return next(m.id for m in log.state.members.values() if m.role is Role.AUDITOR)
