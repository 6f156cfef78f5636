"""Which modules verify, and which tests should notice, those that are nearest first."""

from __future__ import annotations

from pathlib import Path
from typing import Final

REPO: Final = Path(__file__).resolve().parent.parent.parent

_LEDGER: Final = (
    "ledger_members ledger_log ledger_handover ledger_vault ledger_rotation ledger_recovery"
    " ledger_keys ledger_data ledger_commits ledger_pending ledger_pairs ledger_transitions"
    " ledger_holders ledger_vectors ledger_model"
)
TESTS: Final[dict[str, str]] = {
    "protocol/acts/keys.py": "act_payloads acts ledger_keys",
    "protocol/acts/recovery.py": "act_payloads acts ledger_recovery",
    "protocol/acts/signed.py": "acts act_payloads ledger_log",
    "protocol/acts/terms.py": "act_payloads acts ledger_members",
    "protocol/api.py": "api_messages server_attacks server_uploads transport",
    "protocol/blocks.py": "blocks cells false_erasures erasing ledger_data server_uploads",
    "protocol/checkpoint.py": "checkpoint ledger_log trust",
    "protocol/encoding.py": "wire spec_vectors vectors_primitives acts",
    "protocol/group.py": "group sigma spec_vectors recovery_shares",
    "protocol/identity.py": "identity acts ledger_members",
    "protocol/ledger/contents.py": "ledger_data ledger_commits ledger_pending",
    "protocol/ledger/data.py": "ledger_data ledger_commits ledger_pending ledger_pairs",
    "protocol/ledger/handover.py": "ledger_handover ledger_log handover",
    "protocol/ledger/holders.py": f"ledger_holders ledger_rotation {_LEDGER}",
    "protocol/ledger/keys.py": "ledger_keys ledger_rotation ledger_pairs ledger_pending",
    "protocol/ledger/log.py": f"ledger_log ledger_vectors {_LEDGER}",
    "protocol/ledger/members.py": _LEDGER,
    "protocol/ledger/recovery.py": "ledger_recovery recovery_shares",
    "protocol/ledger/sides.py": "sides sides_gone ledger_vectors ledger_rotation trust_sides",
    "protocol/ledger/state.py": _LEDGER,
    "protocol/ledger/vault.py": "ledger_vault ledger_recovery ledger_log",
    "protocol/merkle.py": "merkle vectors_primitives checkpoint",
    "protocol/note.py": "checkpoint vectors_primitives",
    "protocol/observations.py": "observing server_faults server_vaults api_messages",
    "protocol/requests.py": "requests vectors_rfc9421 server_door",
    "protocol/rewrap.py": "rewrap spec_vectors sides",
    "protocol/sigma.py": "sigma rewrap crypto_keys",
    "protocol/signing.py": "signing vectors_primitives wire",
    "protocol/wire.py": "wire acts api_messages identity spec_vectors",
    "client/attesting.py": "renewal takeover",
    "client/catalogs.py": "catalogs rogue_admins reading inviting",
    "client/crypto/cells.py": "cells engines resealing reading",
    "client/crypto/keys.py": "crypto_keys crypto_wraps takeover",
    "client/crypto/sharing.py": "recovery_shares recovery_vectors rescue",
    "client/crypto/wraps.py": "crypto_wraps trust_sides",
    "client/documents/attaching.py": "documents documents_cuts documents_entries documents_life",
    "client/documents/chunks.py": "documents_chunks documents_lies",
    "client/documents/entries.py": (
        "documents_entries documents_getting documents_lies documents catalogs"
    ),
    "client/documents/getting.py": "documents_getting documents documents_lies documents_life",
    "client/documents/local.py": "documents_getting documents_lies documents documents_cuts",
    "client/documents/together.py": "documents_together",
    "client/exposure.py": "exposure keyring store",
    "client/fetching.py": "reading reading_meanwhile catalogs resealing",
    "client/handover.py": "handover people takeover granting",
    "client/inviting.py": "inviting people joining trust_acts",
    "client/keyring.py": "keyring cli_keyring home",
    "client/keyring_file.py": "keyring cli_keyring home",
    "client/links.py": "links inviting",
    "client/kits.py": "kits",
    "client/naming.py": "rogue_names catalogs appending",
    "client/observing.py": "observing",
    "client/people.py": "people renamed planned catalogs",
    "client/pinning.py": "pinning tls transport",
    "client/planned.py": "planned people",
    "client/reading.py": "reading filtering reading_meanwhile catalogs handover observing erasing",
    "client/verifying.py": "handover takeover documents_lies",
    "client/recovery.py": "rescue people",
    "client/remembered.py": "renamed people renewal",
    "client/replacing.py": "replacing",
    "client/rescue.py": "rescue",
    "client/resealing.py": "reencryption rotation_resumed trust_sides documents_lies",
    "client/restoring.py": "restoring home renewal",
    "client/row_hashes.py": "replacing row_numbers",
    "client/seen.py": "rogue_names catalogs",
    "client/session.py": "session head_age patience renewal people",
    "client/store.py": "store older_stores trust",
    "client/store_files.py": "restoring home",
    "client/trust.py": (
        "trust trust_acts trust_sides spec_sync late_homes renewal head_age observing"
    ),
    "client/unheard.py": "head_age",
    "client/words.py": "words people",
    "vault/allowance.py": "allowance",
    "vault/auth.py": "server_door requests server_attacks server_restart server_parts",
    "vault/callers.py": "server_slow server_access server_former server_door",
    "vault/checkpoints.py": "server_faults server_vaults",
    "vault/config.py": "config",
    "vault/copies.py": "copies",
    "vault/door.py": "server_door server_attacks server_access server_faults server_parts",
    "vault/effects.py": "server_erasing server_reencryption server_uploads",
    "vault/fetches.py": "server_vaults server_uploads server_access server_attacks server_erasing",
    "vault/horizon.py": "horizon server_attacks",
    "vault/landing.py": (
        "server_uploads server_access server_former server_staged server_vaults server_faults"
        " erasing_names"
    ),
    "vault/names.py": "erasing_names",
    "vault/rates.py": "server_parts allowance server_attacks",
    "vault/routes.py": "server_parts server_door",
    "vault/service.py": (
        "server_access disk_low bit_rot server_attacks server_uploads server_vaults allowance"
        " server_slow server_faults"
    ),
    "vault/serving.py": "server_reencryption server_retiring server_faults server_vaults",
    "vault/soundness.py": "bit_rot soundness copies",
    "vault/staging.py": (
        "server_staged server_uploads server_access server_reencryption server_erasing"
    ),
    "vault/starting.py": "starting",
    "vault/storage/sqlite_check.py": "storage_sqlite storage_files bit_rot",
    "vault/storage/sqlite_file.py": "storage_sqlite older_stores",
    "vault/tls.py": "tls starting copies",
    "vault/under.py": "server_staged",
    "vault/unbroken.py": "unbroken server_faults",
    "vault/vaults.py": "server_faults server_parts server_vaults bit_rot copies",
}

DECIDING: Final = frozenset(
    {
        "client/naming.py",
        "client/planned.py",
        "client/remembered.py",
        "client/restoring.py",
        "client/seen.py",
        "client/store_files.py",
        "client/unheard.py",
        "vault/allowance.py",
        "vault/horizon.py",
        "vault/rates.py",
        "vault/starting.py",
        "vault/unbroken.py",
    }
)
"""Those that refuse little, and defend by what they answer or do."""


def files_of(path: str) -> tuple[str, ...]:
    """Return the files of tests for a module, from the root of the tree."""
    return tuple(f"tests/test_{name}.py" for name in dict.fromkeys(TESTS[path].split()))
