"""The one table of limits (SPEC section 11). Enforced before decoding wherever bytes come in."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps that every implementation enforces; sizes in bytes, times in seconds."""

    act_bytes: int = 1 * MIB
    genesis_bytes: int = 8 * KIB
    sides_bytes: int = 16 * MIB
    side_parts: int = 16_384
    message_depth: int = 12
    message_elements: int = 262_144
    text_bytes: int = 4 * KIB
    cell_bytes: int = 1 * MIB
    block_bytes: int = 16 * MIB
    batch_bytes: int = 64 * MIB
    batch_records: int = 65_536
    batch_records_default: int = 4_096
    act_batches: int = 4_096
    act_moves: int = 8_192
    erase_bytes: int = 64 * MIB
    fields: int = 4_096
    collections: int = 4_096
    members: int = 4_096
    open_invites: int = 1_024
    epochs: int = 65_536
    retired: int = 16_384
    rules: int = 1_024
    custodians: int = 16
    rebuilders: int = 16
    head_signers: int = 16
    proof_hashes: int = 64
    log_page_leaves: int = 512
    log_page_bytes: int = 4 * MIB
    note_bytes: int = 8 * KIB
    note_signatures: int = 16
    bundle_batches: int = 64
    bundle_bytes: int = 8 * MIB
    fetch_blocks: int = 4_096
    fetch_bytes: int = 64 * MIB
    invite_seconds: int = 90 * DAY
    offer_seconds: int = 90 * DAY
    head_seconds: int = 90 * DAY
    request_skew_seconds: int = 60
    checkpoint_age_seconds: int = 300
    citation_age_seconds: int = 3_600
    staged_seconds: int = 7 * DAY


LIMITS: Final = Limits()


def limits_table() -> dict[str, int]:
    """Return name and value of every limit, as `/v1/server` and SPEC section 11 list them."""
    return asdict(LIMITS)
