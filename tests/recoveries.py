"""New keys for members, and shares of the owner's seed: what is said to the ledger about them."""

from __future__ import annotations

import os

from client.crypto.identity import Identity
from protocol import acts
from protocol.acts import Dealing, Release, SealedShare
from protocol.acts.recovery import SEED_BOX_BYTES, SHARE_BOX_BYTES
from protocol.group import Scalar, base_mul
from protocol.identity import recovery_context, rotation_context
from tests.world import World


def rotating(
    new: Identity, vault_id: bytes, old: Identity, dealing: int | None = None
) -> acts.RotateIdentity:
    """Return what a member says to go on under new keys."""
    return acts.RotateIdentity(new.card(rotation_context(vault_id, old.member_id)), dealing)


def rotate(world: World, old: Identity, dealing: int | None = None) -> Identity:
    """Put new keys in a member's place, the owner's too."""
    new = Identity.generate()
    world.land(old, rotating(new, world.vault_id, old, dealing), readers=(new,))
    if old is world.owner:
        world.owner = new
    return new


def deal(world: World, *custodians: Identity) -> int:
    """Deal shares of the owner's seed, two of which rebuild it; the ledger looks into no box."""
    ids = sorted(each.member_id for each in custodians)
    points = tuple(base_mul(bytes(Scalar.reduced(os.urandom(64)))) for _ in range(2))
    shares = tuple(SealedShare(each, os.urandom(SHARE_BOX_BYTES)) for each in ids)
    dealing = Dealing(2, points, os.urandom(SEED_BOX_BYTES), shares)
    return world.land(world.owner, acts.Custodians(dealing)).index


def releasing(world: World, rebuilder: Identity) -> Release:
    """Return what a custodian says to give its share of the dealing in force."""
    assert world.state.recovery is not None
    card = rebuilder.card(recovery_context(world.vault_id))
    return Release(world.state.recovery.at, card, os.urandom(SHARE_BOX_BYTES))


def release(world: World, custodian: Identity, rebuilder: Identity) -> None:
    world.land(custodian, releasing(world, rebuilder))
