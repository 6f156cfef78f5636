"""A vault on a server with somebody of every kind, for the tests of who may do what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nacl.signing import SigningKey

from client.crypto.identity import Identity
from client.crypto.invites import invite_access_key
from client.crypto.secrets import InviteSecret
from protocol import acts
from protocol.acts import Role
from protocol.blocks import FieldClass, Manifest
from protocol.identity import access_key_id
from tests.servers import LiveVault
from tests.world import of_class

Signer = Identity | tuple[SigningKey, bytes]


@dataclass
class Cast:
    """Everybody by name, a collection of a general and a core field, and its one batch."""

    people: dict[str, Signer]
    collection: bytes
    batch: Manifest

    def __getitem__(self, name: str) -> Any:
        return self.people[name]


def access(secret: InviteSecret) -> Signer:
    key = invite_access_key(secret)
    return key, access_key_id(bytes(key.verify_key))


async def staged_cast(live: LiveVault) -> Cast:
    """Fill a vault, here and on its server."""
    live.people()
    collection = live.collection(FieldClass.GENERAL, FieldClass.CORE)
    batch = live.records(collection)
    live.commit(live.owner, collection, batch)
    everything = (of_class(FieldClass.GENERAL), of_class(FieldClass.CORE))
    some = (of_class(FieldClass.GENERAL),)
    cast: dict[str, Any] = {"owner": live.owner}
    cast["admin"] = live.member(Role.ADMIN, everything)
    cast["keyless"] = live.member(Role.KEYLESS_ADMIN)
    cast["auditor"] = live.member(Role.AUDITOR)
    cast["bidder"] = live.member(Role.BIDDER, some)
    cast["revoked"] = revoked = live.member(Role.BIDDER, some)
    live.remove(revoked)
    _, used = live.invite(live.owner, Role.BIDDER, some)
    cast["used invite"] = used
    cast["unconfirmed"] = live.join(used)
    cast["unconfirmed admin"] = live.join(live.invite(live.owner, Role.ADMIN)[1])
    opened, cast["invite"] = live.invite(live.owner, Role.BIDDER, some)
    cast["access"] = access(opened)
    closed, withdrawn = live.invite(live.owner, Role.BIDDER, some)
    live.land(live.owner, acts.WithdrawInvite(withdrawn.member_id))
    # Whoever was removed left its epochs tainted.
    fields = ((collection, 0), (collection, 1))
    live.epochs(live.owner, *fields, readers=(cast["admin"], cast["bidder"]))
    cast["closed invite"], cast["closed access"] = withdrawn, access(closed)
    cast["stranger"] = Identity.generate()
    await live.push()
    return Cast(cast, collection, batch)
