"""The HTTP interface: paths and messages (SPEC section 10).

Every body is one record in the one encoding, but for batches, which travel as
`protocol.blocks.join_batch_body` writes them, and fetched blocks, which follow each other
framed by their length. Ids in paths are lower-case hex of fixed length; anything else is no
path of this interface.
"""

from __future__ import annotations

from typing import Annotated, Final

from protocol.acts import Count, Id16, Time
from protocol.errors import MalformedMessage
from protocol.ledger.sides import Gone, SentPart
from protocol.limits import KIB, LIMITS
from protocol.wire import Blob, Fixed, ListOf, Maybe, Text, Uint, record

API_VERSION: Final = 1
CONTENT_TYPE: Final = "application/vnd.sealroom.v1+msgpack"
BATCH_CONTENT_TYPE: Final = "application/vnd.sealroom.v1.batch"
BATCHES_CONTENT_TYPE: Final = "application/vnd.sealroom.v1.batches"
BLOCKS_CONTENT_TYPE: Final = "application/vnd.sealroom.v1.blocks"

SERVER: Final = "/v1/server"
VAULTS: Final = "/v1/vaults"
HEALTH: Final = "/healthz"

_VAULT: Final = "/v1/vaults/{vault}"
LOG: Final = _VAULT + "/log"
CONSISTENCY: Final = _VAULT + "/consistency"
ACTS: Final = _VAULT + "/acts"
OBSERVATIONS: Final = _VAULT + "/observations"
UPLOAD: Final = _VAULT + "/uploads/{upload}"
BATCHES: Final = _VAULT + "/uploads/{upload}/batches"
BATCH: Final = _VAULT + "/uploads/{upload}/batches/{batch}"
BLOCKS: Final = _VAULT + "/blocks"

ID_HEX: Final = {"vault": 64, "upload": 32, "batch": 32}
"""How many lower-case hex digits each id in a path has."""

LENGTH_BYTES: Final = 4
LEAF_MAX: Final = LIMITS.act_bytes + 4 * KIB
ACT_BODY_BYTES: Final = LEAF_MAX + LIMITS.sides_bytes + 8 * LIMITS.side_parts + KIB
LOG_PAGE_BYTES: Final = LIMITS.log_page_bytes + ACT_BODY_BYTES
NOTE_BYTES: Final = 4 * KIB

SideParts = Annotated[tuple[bytes, ...], ListOf(Blob(LIMITS.sides_bytes), LIMITS.side_parts)]
Note = Annotated[bytes, Blob(NOTE_BYTES, 1)]


@record
class LimitValue:
    """One row of the server's table of limits."""

    name: Annotated[str, Text(64)]
    value: Count


@record
class ServerInfo:
    """Answer to GET `/v1/server`: whom this server signs as, and what it takes."""

    versions: Annotated[tuple[int, ...], ListOf(Uint(0xFFFF), 16, 1, ascending=True)]
    checkpoint_key: Annotated[bytes, Fixed(32)]
    time: Time
    needs_token: bool
    limits: Annotated[tuple[LimitValue, ...], ListOf(LimitValue, 256)]


@record
class CreateVault:
    """Body of POST `/v1/vaults`: the token that the server printed, and a signed genesis."""

    token: Annotated[str, Text(128)]
    genesis: Annotated[bytes, Blob(LEAF_MAX, 1)]


@record
class SubmitAct:
    """Body of POST `.../acts`: a signed act and the parts of its sides."""

    envelope: Annotated[bytes, Blob(LEAF_MAX, 1)]
    sides: SideParts


ProofHashes = Annotated[tuple[bytes, ...], ListOf(Fixed(32), LIMITS.proof_hashes)]


@record
class Receipt:
    """Proves to whoever may see no more of the log that an act is in it (SPEC section 10.2).

    The first proves the act's leaf in the checkpoint's tree, the second that this tree goes on
    from the one that the act cites (RFC 9162 sections 2.1.3 and 2.1.4).
    """

    inclusion: ProofHashes
    consistency: ProofHashes


@record
class Submitted:
    """Answer to both: where the act landed, and a checkpoint of a tree that holds it.

    The receipt is for former members, who cannot look for themselves.
    """

    index: Count
    checkpoint: Note
    receipt: Annotated[Receipt | None, Maybe(Receipt)]


@record
class LogPart:
    """One part beside a leaf: its bytes; or its leaf hash, once its epochs are retired.

    Raises:
        MalformedMessage: neither, or both.
    """

    content: Annotated[bytes | None, Maybe(Blob(LIMITS.sides_bytes))]
    digest: Annotated[bytes | None, Maybe(Fixed(32))]

    def __post_init__(self) -> None:
        """Refuse neither and both."""
        if (self.content is None) == (self.digest is None):
            raise MalformedMessage("a part beside a leaf is there, or its hash is")

    @classmethod
    def of(cls, part: SentPart) -> LogPart:
        """Return a part as it travels."""
        return cls(None, part.digest) if isinstance(part, Gone) else cls(part, None)

    def sent(self) -> SentPart:
        """Return the part as `check_sides` takes it."""
        return Gone(self.digest or b"") if self.content is None else self.content


@record
class LogLeaf:
    """One leaf of the log with the parts that travel beside it."""

    leaf: Annotated[bytes, Blob(LEAF_MAX, 1)]
    sides: Annotated[tuple[LogPart, ...], ListOf(LogPart, LIMITS.side_parts)]


@record
class LogPage:
    """Answer to GET `.../log?from=N`: consecutive leaves from N, and the newest checkpoint.

    A page may end before the checkpoint's size; the client asks for the next.
    """

    start: Count
    leaves: Annotated[tuple[LogLeaf, ...], ListOf(LogLeaf, LIMITS.log_page_leaves)]
    checkpoint: Note


@record
class ConsistencyProof:
    """Answer to GET `.../consistency?from=M&to=N` (RFC 9162 section 2.1.4)."""

    hashes: ProofHashes


@record
class Observation:
    """An observation as owner, admins and auditors get it."""

    index: Count
    salt: Annotated[bytes, Fixed(32)]
    envelope: Annotated[bytes, Blob(LEAF_MAX, 1)]


@record
class ObservationsPage:
    """Answer to GET `.../observations?from=N`: those at index N and above, in order."""

    observations: Annotated[tuple[Observation, ...], ListOf(Observation, LIMITS.log_page_leaves)]


@record
class Staged:
    """Answer to GET and PUT below `.../uploads/ID`: which of the upload's batches are stored."""

    batches: Annotated[tuple[bytes, ...], ListOf(Fixed(16), 1 << 17, ascending=True)]


@record
class WantedBatch:
    """Which fields of one batch to fetch."""

    batch: Id16
    fields: Annotated[tuple[int, ...], ListOf(Uint(0xFFFF), LIMITS.fields, 1, ascending=True)]


@record
class FetchBlocks:
    """Body of POST `.../blocks`: blocks of one collection, answered in exactly this order.

    The answer is, for each block, its length as 4 bytes big-endian and then the block. Each
    batch is named once, with all its wanted fields: otherwise a small request could make the
    server look up one large manifest thousands of times.

    Raises:
        MalformedMessage: a batch is named twice.
    """

    collection: Id16
    batches: Annotated[tuple[WantedBatch, ...], ListOf(WantedBatch, LIMITS.fetch_blocks, 1)]

    def __post_init__(self) -> None:
        """Refuse a batch that is named twice."""
        if len({each.batch for each in self.batches}) != len(self.batches):
            raise MalformedMessage("each batch is named once, with all its fields")


@record
class ErrorBody:
    """The body of every answer that is not a success."""

    code: Annotated[str, Text(64)]
    message: Annotated[str, Text(2 * KIB)]
    hint: Annotated[str | None, Maybe(Text(2 * KIB))]
    time: Time
