"""What a member is told of fields that wait for new keys: what it may do, or whose turn it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from client.cli.output import age, counted
from client.results.keys import KeysWait
from client.results.vaults import NewKeys, VaultStatus, Way

TAKEOVER: Final = Way.TAKEOVER
FORMER: Final = ("revoked", "replaced")
SELLER_KNOWS: Final = "the seller still knows the keys that are in use"
SEAL_ANEW: Final = "sealroom rotate --reencrypt"

WHY_NO_KEYS: Final[Mapping[KeysWait, str]] = {
    KeysWait.OFFER: "the vault is offered, and nobody makes new keys until the buyer has answered "
    "or the offer is over",
    KeysWait.FREEZE: "the vault is frozen, and nobody makes new keys until the owner lifts it",
    KeysWait.ROLE: "you make no keys",
}
"""Why a command that replaces keys replaced none, as the end of a sentence."""
THE_REST: Final[Mapping[KeysWait, str]] = {
    KeysWait.OFFER: "The same command does what is left once the buyer has declined, or the offer "
    "is over: 'sealroom handover status' shows when that is. A buyer who accepts does it instead, "
    "with 'sealroom handover takeover'.",
    KeysWait.FREEZE: "The same command does what is left once the owner has run "
    "'sealroom unfreeze'.",
    KeysWait.ROLE: "The owner, or an admin who holds what is left, does it with the same command.",
}
"""When what is left to do can be done, by whom, and how."""


def what_waits(new: NewKeys) -> str:
    """Return what waits for this member, as the beginning of a sentence."""
    if new.way == TAKEOVER:
        return SELLER_KNOWS.capitalize()
    what = f"{_offered(new)}. " if new.offered else ""
    what += f"{counted(new.mine, 'field takes', 'fields take')} no new data until "
    return what + ("its key is replaced" if new.mine == 1 else "their keys are replaced")


def which_way(new: NewKeys) -> str:
    """Return the command that replaces what waits, as the end of a sentence."""
    if new.way == TAKEOVER:
        return f"run 'sealroom {new.way}' next"
    if new.offered:
        return (
            f"run '{SEAL_ANEW}', which also seals anew what is stored, or at least "
            f"'sealroom {new.way}'"
        )
    return f"run 'sealroom {new.way}'"


def what_is_left(new: NewKeys) -> str | None:
    """Return who could open what is stored, once what waited has new keys; None where nobody."""
    if not new.offered:
        return None
    has = "has" if len(new.offered) == 1 else "have"
    whose = f"keys that {', '.join(new.offered)} {has} since the vault was offered"
    return f"what is stored opens with {whose}: '{SEAL_ANEW}' seals it anew"


def _offered(new: NewKeys) -> str:
    names, one = ", ".join(new.offered), len(new.offered) == 1
    were = "was" if one else "were"
    return (
        f"{names} {were} offered the vault, did not take it over, and still "
        f"{'has' if one else 'have'} its keys"
    )


def of_silence(stands: VaultStatus) -> str | None:
    """Return who was not heard of for long, and how to find out whether the server hides it."""
    if not stands.unheard or stands.phase == "ended":
        return None
    silent = ", ".join(
        f"{each.name or each.member_id[:16]} for {age(each.seconds)}" for each in stands.unheard
    )
    return (
        f"{silent}: if any of them has removed somebody since, this server hides it. Ask each "
        "to run 'sealroom heartbeat', which shows here unless it does; or compare checkpoints "
        "('sealroom log')"
    )


def told_to(stands: VaultStatus) -> str | None:
    """Return in a line what waits in a vault, and who can do something about it, if anything."""
    new = stands.new_keys
    if new.way == TAKEOVER:
        return f"{SELLER_KNOWS}: 'sealroom {new.way}'"
    if not new.fields or stands.phase == "ended" or stands.status in FORMER:
        return None
    what = f"{counted(new.fields, 'field takes', 'fields take')} no new data until "
    what += "it has a new key" if new.fields == 1 else "they have new keys"
    if new.way is None:
        return f"{what}: {_whose_turn(stands)}"
    rest = new.fields - new.mine
    others = f" for {new.mine:,}; the others by whoever holds them" if rest else ""
    return f"{what}: 'sealroom {new.way}'{others}"


def _whose_turn(stands: VaultStatus) -> str:
    if stands.phase.startswith("frozen"):
        return "once the owner has lifted the freeze"
    if stands.offer is not None:
        return "once the offer is accepted, declined or over"
    return "the owner gives them, or an admin who holds them"
