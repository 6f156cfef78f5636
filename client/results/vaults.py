"""Vaults as this home knows them: identities, status, policy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class IdentityInfo:
    """An identity in this home's keyring; `vault_id` is the vault that it serves in, if any."""

    name: str
    member_id: str
    created: int
    vault_id: str | None


@dataclass(frozen=True, slots=True)
class VaultInfo:
    """A vault as this home's keyring lists it; `since` is when its identity there was made."""

    vault_id: str
    title: str
    server: str
    pin: str | None
    identity: str
    joined: bool
    since: int


@dataclass(frozen=True, slots=True)
class OfferInfo:
    """The open handover offer."""

    index: int
    buyer: str
    buyer_name: str
    expires: int
    to_me: bool


class Way(StrEnum):
    """The command by which a member gives fields new keys."""

    ROTATE = "rotate --tainted"
    TAKEOVER = "handover takeover"


@dataclass(frozen=True, slots=True)
class NewKeys:
    """How many fields take no new data until they have new keys, and what a member can do about it.

    `mine` of them it may give new keys now, by the command `way`, which is None where there is
    nothing that it may do. A takeover is due as long as the seller knows a key in use.

    `offered` are those to whom the vault was offered, who did not take it over, and who have keys
    in use since then; whoever makes no keys is told of none.
    """

    fields: int
    mine: int
    way: Way | None
    offered: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unheard:
    """Somebody who may remove members, and whose newest act in this log is `seconds` old."""

    member_id: str
    name: str | None
    seconds: int


@dataclass(frozen=True, slots=True)
class VaultStatus:
    """A vault as replayed: sizes, phase, my place in it; ages in seconds.

    `collections` and `records` count tables, `documents` what lies beside them, as far as this
    member may know the names of a collection: the `nameless` ones count as tables. `title_sealed`
    says that no name opens to it, and so no title.

    `checkpoint_age` is that of what the server signed; `head_age` that of what the owner, or
    somebody named by the policy, last signed, which writers let be `head_limit` at most, and
    which is negative where that time is yet to come. `unheard` are those others who may remove
    members and whose newest act here is older than `head_limit`, told to whoever may itself.
    """

    vault_id: str
    title: str
    server: str
    me: str
    role: str
    status: str
    leaves: int
    root: str
    checkpoint_age: int
    members: int
    open_invites: int
    collections: int
    records: int
    offer: OfferInfo | None
    tainted_fields: int
    new_keys: NewKeys
    phase: str
    head_age: int
    head_limit: int
    documents: int = 0
    nameless: int = 0
    title_sealed: bool = False
    unheard: tuple[Unheard, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyInfo:
    """A vault's policy; `head_signers` are the ids of those whose acts keep writers writing."""

    invite_days: float
    offer_days: float
    head_days: float
    invite_data: bool
    head_signers: tuple[str, ...]
