"""Payloads of acts on the vault as a whole (SPEC sections 8.3 and 9.8)."""

from __future__ import annotations

from typing import Annotated

from protocol.acts.terms import Id32, Policy, Reason, Statement
from protocol.identity import IdentityCard
from protocol.signing import PUBLIC_KEY_BYTES, verify_public_key
from protocol.wire import Parsed, Uint, record


@record
class Genesis:
    """The first act: owner, policy, suite, the server's checkpoint key. Its hash is the vault."""

    suite: Annotated[int, Uint(0xFFFF)]
    nonce: Id32
    owner: IdentityCard
    server_key: Annotated[bytes, Parsed(bytes, verify_public_key, PUBLIC_KEY_BYTES)]
    policy: Policy


@record
class ChangePolicy:
    """Put another policy in the place of the one there is."""

    policy: Policy


@record
class Freeze:
    """Stop: no block is served, and nothing but removals lands, until it is lifted."""

    reason: Reason


@record
class Unfreeze:
    """Lift a freeze."""


@record
class Destroy:
    """End the vault for ever: blocks and wraps go, the log stays."""

    reason: Reason


@record
class Attest:
    """A member, or a former one, signs a statement; it changes nothing else."""

    statement: Statement


@record
class Heartbeat:
    """Nothing by itself: its citation says which log its author has seen, and when."""


@record
class Expire:
    """Nothing by itself: its citation dates what has expired."""


@record
class Noop:
    """Nothing: spends a number."""
