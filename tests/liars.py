"""Malicious servers: the real one, with one lie at a time.

A `Lie` answers in place of the honest transport, which it is given; what it does not override
is the truth. A `ForgedLog` is a log of one's own under the real server's key, in which anything
at all may stand; `Forger` is the server that serves it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from nacl.signing import SigningKey

from client.crypto.identity import Identity
from client.crypto.secrets import Share
from client.crypto.wraps import NewEpoch, make_sides
from client.session import Session
from client.transport import Transport
from protocol import acts, api
from protocol.acts import Act, Citation
from protocol.api import LogLeaf, LogPage, LogPart
from protocol.blocks import Address
from protocol.checkpoint import Checkpoint, signed_message
from protocol.labels import Label
from protocol.ledger import Ledger, act_leaf, check_sides, sides_root
from protocol.ledger.sides import SentPart
from protocol.ledger.state import State
from protocol.limits import LIMITS
from protocol.merkle import Tree, leaf_hash
from protocol.rewrap import Wrap
from protocol.wire import Envelope, from_bytes, pae, to_bytes
from tests.in_process import Lab
from vault.tls import load_or_create_checkpoint_key


class Lie:
    """What a server says in place of the truth; by itself, nothing but the truth."""

    def __init__(self) -> None:
        self.telling = True
        self.sent: list[str] = []

    async def server_info(self, honest: Transport) -> api.ServerInfo:
        return await honest.server_info()

    async def create_vault(self, honest: Transport, request: api.CreateVault) -> api.Submitted:
        return await honest.create_vault(request)

    async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> LogPage:
        return await honest.log_page(vault_id, start)

    async def consistency(
        self, honest: Transport, vault_id: bytes, old: int, new: int
    ) -> tuple[bytes, ...]:
        return await honest.consistency(vault_id, old, new)

    async def submit(self, honest: Transport, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
        return await honest.submit(vault_id, act)

    async def observations(
        self, honest: Transport, vault_id: bytes, start: int
    ) -> api.ObservationsPage:
        return await honest.observations(vault_id, start)

    async def staged(self, honest: Transport, vault_id: bytes, upload: bytes) -> api.Staged:
        return await honest.staged(vault_id, upload)

    async def stage(
        self, honest: Transport, vault_id: bytes, upload: bytes, batch: bytes, body: bytes
    ) -> None:
        await honest.stage(vault_id, upload, batch, body)

    async def stage_several(
        self, honest: Transport, vault_id: bytes, upload: bytes, bodies: Sequence[bytes]
    ) -> None:
        await honest.stage_several(vault_id, upload, bodies)

    def fetch(
        self,
        honest: Transport,
        vault_id: bytes,
        request: api.FetchBlocks,
        sizes: tuple[int, ...],
    ) -> AsyncGenerator[bytes, None]:
        return honest.fetch(vault_id, request, sizes)


class Liar:
    """The transport to a server that tells a lie, while it is telling it."""

    def __init__(self, honest: Transport, lie: Lie) -> None:
        self.honest = honest
        self.told = lie

    @property
    def _lie(self) -> Lie:
        return self.told if self.told.telling else Lie()

    async def server_info(self) -> api.ServerInfo:
        return await self._lie.server_info(self.honest)

    async def create_vault(self, request: api.CreateVault) -> api.Submitted:
        self.told.sent.append("create_vault")
        return await self._lie.create_vault(self.honest, request)

    async def log_page(self, vault_id: bytes, start: int) -> LogPage:
        return await self._lie.log_page(self.honest, vault_id, start)

    async def consistency(self, vault_id: bytes, old: int, new: int) -> tuple[bytes, ...]:
        return await self._lie.consistency(self.honest, vault_id, old, new)

    async def submit(self, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
        self.told.sent.append("submit")
        return await self._lie.submit(self.honest, vault_id, act)

    async def observations(self, vault_id: bytes, start: int) -> api.ObservationsPage:
        return await self._lie.observations(self.honest, vault_id, start)

    async def staged(self, vault_id: bytes, upload: bytes) -> api.Staged:
        return await self._lie.staged(self.honest, vault_id, upload)

    async def stage(self, vault_id: bytes, upload: bytes, batch: bytes, body: bytes) -> None:
        self.told.sent.append("stage")
        await self._lie.stage(self.honest, vault_id, upload, batch, body)

    async def stage_several(self, vault_id: bytes, upload: bytes, bodies: Sequence[bytes]) -> None:
        self.told.sent.append("stage_several")
        await self._lie.stage_several(self.honest, vault_id, upload, bodies)

    def fetch(
        self, vault_id: bytes, request: api.FetchBlocks, sizes: tuple[int, ...]
    ) -> AsyncGenerator[bytes, None]:
        return self._lie.fetch(self.honest, vault_id, request, sizes)

    async def close(self) -> None:
        await self.honest.close()


@dataclass
class Signed:
    """A leaf as somebody signed it, and what travels beside it."""

    leaf: bytes
    sides: tuple[SentPart, ...] = ()


@dataclass
class ForgedLog:
    """A log under the server's key, begun as a copy of the honest one.

    `take` appends what the rules allow and `force` what they do not; from then on the ledger,
    by which acts are drafted, stands still.
    """

    vault_id: bytes
    key: SigningKey
    leaves: list[LogLeaf] = field(default_factory=list)
    tree: Tree = field(default_factory=Tree)
    ledger: Ledger = field(default_factory=Ledger)
    wraps: dict[tuple[Address, bytes], Wrap] = field(default_factory=dict)
    gone: set[Address] = field(default_factory=set)
    clock: Callable[[], float] = time.time

    @classmethod
    async def of(cls, lab: Lab, session: Session, size: int | None = None) -> Self:
        """Copy the first `size` leaves that a member is shown by the honest server, or all."""
        vault_id, me = session.vault_id, session.identity.member_id
        page = await lab.service.log_page(vault_id, me, 0)
        wanted = list(page.leaves[:size])
        known = _KNOWN.get(vault_id)
        if not isinstance(known, cls) or known.leaves != wanted[: known.size]:
            known = cls(vault_id, load_or_create_checkpoint_key(lab.directory / "server"))
        forged = known.branch()
        for leaf in wanted[forged.size :]:
            forged.take(Signed(leaf.leaf, tuple(part.sent() for part in leaf.sides)))
        # Replaying takes its time, and most tests begin with the same leaves.
        if size is None and forged.size <= getattr(_KNOWN.get(vault_id), "size", forged.size):
            _KNOWN[vault_id] = forged.branch()
        return forged

    def branch(self) -> Self:
        """Return a log that goes on from here by itself."""
        return replace(
            self,
            leaves=self.leaves.copy(),
            tree=self.tree.copy(),
            ledger=self.ledger.copy(),
            wraps=self.wraps.copy(),
            gone=self.gone.copy(),
        )

    @property
    def size(self) -> int:
        return len(self.leaves)

    @property
    def state(self) -> State:
        return self.ledger.state

    def take(self, signed: Signed) -> None:
        landed = self.ledger.check(signed.leaf)
        if landed.act is not None and landed.before is not None:
            checked = check_sides(
                landed.before, landed.after, landed.act, signed.sides, self.wraps, self.gone
            )
            self.wraps.update(checked.wraps)
            self.gone |= checked.gone
        self.ledger.append(landed)
        self.force(signed)

    def force(self, signed: Signed) -> None:
        self.leaves.append(LogLeaf(signed.leaf, tuple(map(LogPart.of, signed.sides))))
        self.tree.append(leaf_hash(signed.leaf))

    # --- what the server says of it

    def checkpoint(self, size: int | None = None, when: float | None = None) -> Checkpoint:
        size = self.size if size is None else size
        return self.claimed(size, self.tree.root(size), when)

    def claimed(self, size: int, root: bytes, when: float | None = None) -> Checkpoint:
        """Sign a checkpoint with the server's key, whatever it says."""
        moment = int(self.clock() if when is None else when)
        signature = self.key.sign(signed_message(self.vault_id, size, root, moment)).signature
        public = bytes(self.key.verify_key)
        return Checkpoint.verified(self.vault_id, size, root, moment, signature, public)

    def page(self, start: int) -> LogPage:
        leaves = self.leaves[start : start + LIMITS.log_page_leaves]
        return LogPage(start, tuple(leaves), self.checkpoint().note())

    # --- what its accomplices sign

    def draft(
        self,
        author: Identity,
        payload: acts.Payload,
        *,
        cited: Citation | None = None,
        number: int | None = None,
    ) -> Act:
        """Return an act that cites the newest checkpoint and has the author's next number."""
        cited = cited or Citation.of(self.checkpoint(self.ledger.size))
        if number is None:
            number = self.state.numbers.get(author.member_id, 0)
        return Act(self.vault_id, author.member_id, number, cited, payload, None)

    def sides(
        self,
        session: Session,
        act: Act,
        created: Mapping[Address, NewEpoch] | None = None,
        *,
        after: State | None = None,
        shares: Callable[[Address], Share] | None = None,
        wraps: Mapping[tuple[Address, bytes], Wrap] | None = None,
    ) -> tuple[bytes, ...]:
        """Make the sides of an act with its author's own keys, or with others given."""
        me = session.identity
        found = shares or (lambda address: session.key(address).share)
        held = {address for address, party in self.wraps if party == me.member_id}
        return make_sides(
            me,
            act,
            self.state,
            after or self.ledger.preview(act),
            on_record=wraps or self.wraps,
            shares={address: found(address) for address in held - (created or {}).keys()},
            created=created,
        )

    def signed(
        self, author: Identity, act: Act, sides: tuple[bytes, ...] = (), by: Identity | None = None
    ) -> Signed:
        """Sign an act over its sides, as its author or in its author's name."""
        body = replace(act, sides_root=sides_root(sides)).body()
        signature = (by or author).sign(pae(Label.ACT, body))
        return Signed(act_leaf(to_bytes(Envelope(Label.ACT, body, signature))), sides)

    def spoken(self, author: Identity, payload: acts.Payload, **given: int | Citation) -> Signed:
        """Sign an act without sides."""
        return self.signed(author, self.draft(author, payload, **given))  # type: ignore[arg-type]


_KNOWN: dict[bytes, ForgedLog] = {}


class Forger(Lie):
    """Serves a forged log to whoever asks."""

    def __init__(self, log: ForgedLog) -> None:
        super().__init__()
        self.log = log

    async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> LogPage:
        return self.log.page(start)

    async def consistency(
        self, honest: Transport, vault_id: bytes, old: int, new: int
    ) -> tuple[bytes, ...]:
        return self.log.tree.consistency_proof(old, new)

    async def submit(self, honest: Transport, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
        self.log.take(Signed(act_leaf(act.envelope), act.sides))
        return api.Submitted(self.log.size - 1, self.log.checkpoint().note(), None)


class Altered(Lie):
    """Alters every page of the log on its way; what it signs anew, it signs for a forged log."""

    def __init__(self, change: Callable[[LogPage], LogPage]) -> None:
        super().__init__()
        self.change = change

    async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> LogPage:
        return self.change(await honest.log_page(vault_id, start))


class Frozen(Lie):
    """Answers for ever as it did at the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.pages: dict[int, LogPage] = {}

    async def log_page(self, honest: Transport, vault_id: bytes, start: int) -> LogPage:
        if start not in self.pages:
            self.pages[start] = await honest.log_page(vault_id, start)
        return self.pages[start]


class Deaf(Lie):
    """Takes acts, says that they landed, and forgets them."""

    async def submit(self, honest: Transport, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
        page = await honest.log_page(vault_id, 0)
        return api.Submitted(len(page.leaves), page.checkpoint, None)


def parsed_act(leaf: bytes) -> Act:
    return acts.parse_body(from_bytes(Envelope, leaf[1:]).body)
