"""What the model speaks of: people, rules, keys, blocks."""

from __future__ import annotations

from dataclasses import dataclass, field

PEOPLE = bytes(16)
PEOPLE_FIELD = 0x8003
ADMINS = {"admin", "keyless-admin"}
STAFF = {"owner", "admin", "keyless-admin"}
KEYED = {"owner", "admin"}
TAKES_DATA = {"admin", "bidder"}
ROLES = {*STAFF, "bidder", "auditor"}
OPEN = {"open"}
IDLE = {"open", "frozen"}
LIVE = {"open", "offered", "frozen", "frozen offer"}

# A rule: ("class", collection or None, class) or ("field", collection, number).
Grant = tuple[str, bytes | None, int]
# A key: collection, field, epoch.
Place = tuple[bytes, int, int]
# A block: the epoch that it lies under, and its hash.
Block = tuple[int, bytes]


@dataclass
class Party:
    """A member or an invite, as one identity; a person may have been several."""

    role: str
    status: str  # waiting, in, out, replaced; an invite: open, out
    rules: set[Grant] = field(default_factory=set)
    planned: set[Grant] = field(default_factory=set)
    given: set[Place] = field(default_factory=set)  # keys that this identity was ever given
    before: bytes = b""  # the identity that it replaced
    inviter: bytes = b""
    carries: bool = False
    expiry: int = 0

    @property
    def live(self) -> bool:
        return self.status not in ("out", "replaced")

    def named(self) -> set[Grant]:
        return self.rules | self.planned

    def in_force(self) -> set[Grant]:
        return self.planned if self.carries else self.rules


@dataclass
class Batch:
    """What was committed: a block for each field, and which records are gone."""

    records: int
    blocks: dict[int, Block]
    erased: set[int] = field(default_factory=set)

    @property
    def names(self) -> bool:
        return any(number >= 0x8000 for number in self.blocks)


@dataclass
class Begun:
    """Parts that have landed of a commit, or of a re-encryption, whose last one has not."""

    kind: str  # commit, moves
    author: bytes
    collection: bytes
    parts: int = 0
    batches: list[tuple[bytes, Batch]] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)

    def places(self) -> set[Place]:
        """The keys that it would use."""
        if self.kind == "moves":
            return {(self.collection, each.field, each.epoch) for each in self.moves}
        return {
            (self.collection, number, epoch)
            for _, batch in self.batches
            for number, (epoch, _) in batch.blocks.items()
        }


@dataclass(frozen=True)
class Move:
    """A block sealed anew: of which batch and field, from which hash, to which."""

    batch: bytes
    field: int
    before: bytes
    epoch: int
    after: bytes


@dataclass
class Dealing:
    """A seed in shares; who was given whose."""

    at: int
    owner: bytes
    custodians: set[bytes]
    threshold: int
    released: dict[bytes, set[bytes]] = field(default_factory=dict)  # rebuilder to custodians

    @property
    def rebuilt(self) -> bool:
        return any(len(given) >= self.threshold for given in self.released.values())
