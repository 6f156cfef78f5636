"""`make threats`: each attack and fault by its id, the test that settles it, and how that ended.

docs/threats.md says in words what each id means here, and what stops it; `SETTLED` names for each
id a test that would fail without that, and `BESIDE` more of them where a row has several defences:
for each a test that fails without it. Other tests bear on the same ids, as variants and as honest
controls: they are marked alike, and run with all others. What waits has no test, and what no test
can show here stands in the page with its reason.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from rich import box
from rich.console import Console
from rich.table import Table

REPO: Final = Path(__file__).resolve().parent.parent
PAGE: Final = REPO / "docs" / "threats.md"
STOPPED, WAITING = "## What is stopped, and by what", "## What waits"
UNTESTABLE: Final = "## What no test here can show"
ID: Final = r"[KCZVWSHDLMR][1-9]\d?"
LINE: Final = re.compile(rf"^\| ({ID}) \| (.+?) \| (.+?) \|$", re.MULTILINE)

SETTLED: Final[Mapping[str, str]] = {
    # keys and identity
    "K1": "test_people.py::test_whoever_took_a_link_for_somebody_else_has_other_words",
    "K2": "test_joining.py::test_a_false_server_at_first_contact_is_found_out",
    "K3": "test_sides.py::test_a_key_of_the_server_s_own_is_refused",
    "K4": "test_sides.py::test_an_entry_for_another_instead_is_refused",
    "K5": "test_identity.py::test_small_keys_are_refused_when_they_are_read",
    "K6": "test_identity.py::test_every_zero_secret_of_wycheproof_is_refused_at_enrolment",
    "K7": "test_identity.py::test_invalid_encapsulation_keys_of_wycheproof_are_refused",
    "K8": "test_sides.py::test_boxes_swapped_pairwise_open_for_nobody",
    "K9": "test_crypto_keys.py::test_every_box_has_a_fresh_encapsulation",
    "K10": "test_home.py::test_no_vault_is_made_on_a_weaker_footing",
    "K11": "test_acts.py::test_no_signature_serves_another_type",
    "K12": "test_identity.py::test_one_key_in_two_roles_is_refused",
    "K13": "test_ledger_members.py::test_an_access_key_stands_for_one_invite",
    "K14": "test_server_access.py::test_each_caller_at_each_path",
    "K15": "test_trust.py::test_an_earlier_state_is_refused",
    "K16": "test_trust_acts.py::test_a_forged_leaf_is_refused_and_named",
    # ciphertext and dataset
    "C1": "test_reading.py::test_no_two_cells_of_fifty_can_change_places",
    "C2": "test_reading.py::test_a_block_opens_in_its_field_epoch_and_batch_only",
    "C3": "test_catalogs.py::test_an_older_block_of_names_is_not_taken_for_a_newer_one",
    "C4": "test_reading.py::test_an_export_of_other_blocks_than_were_committed_leaves_nothing",
    "C5": "test_reading.py::test_a_cut_at_any_block_leaves_nothing",
    "C6": "test_cheating_members.py::test_a_bidder_forges_no_cell_though_the_server_helps",
    "C7": "test_crypto_wraps.py::test_no_second_key_fits_the_published_commitments",
    "C8": "test_handover.py::test_each_key_handed_over_wrong_is_found_before_the_acceptance",
    "C9": "test_cheating_members.py::test_other_records_than_a_bidder_was_shown_have_another_root",
    "C10": "test_handover.py::test_committed_rubbish_is_found_before_the_acceptance",
    "C11": "test_reading.py::test_no_byte_of_a_block_can_be_changed",
    "C12": "test_crypto_wraps.py::test_a_cloned_machine_repeats_no_scalar",
    "C13": "test_cells.py::TestLimitsAndMisuse::test_records_at_the_limit_and_one_above",
    "C14": "test_documents_lies.py::test_a_server_that_sends_other_chunks_leaves_no_file",
    "C15": "test_side_channels.py::test_nothing_is_compressed_before_it_is_sealed",
    "C16": "test_cells.py::TestKeySchedule::"
    "test_a_thousand_equal_values_are_a_thousand_ciphertexts",
    "C17": "test_reading.py::test_another_vaults_block_is_not_this_ones",
    # the proved rewrap
    "Z1": "test_trust_sides.py::test_a_grant_of_another_key_is_refused_by_the_client_alone",
    "Z2": "test_rewrap.py::test_the_test_above_would_notice_a_transcript_that_leaves_it_out",
    "Z3": "test_rewrap.py::test_bad_points_are_refused_at_each_place_of_a_wrap",
    "Z4": "test_trust_sides.py::test_a_wrong_share_is_found_before_its_use_and_can_be_mended",
    "Z5": "test_rewrap.py::test_no_proof_serves_for_another_vault_kind_epoch_or_member",
    "Z6": "test_trust_sides.py::test_a_grant_recombined_with_anothers_entry_is_refused",
    "Z7": "test_server_erasing.py::test_what_is_left_is_what_the_server_makes_of_it",
    # found in the design, and in the ledger's rules
    "V1": "test_cells.py::TestLengthsTellLittle::"
    "test_no_column_of_the_telco_table_is_told_by_lengths",
    "V2": "test_cells.py::TestKeySchedule::test_two_plaintexts_never_share_a_cell_key",
    "V3": "test_false_erasures.py::test_what_was_erased_is_not_given_back_by_a_later_erasure",
    "V4": "test_trust_acts.py::test_an_act_withheld_and_slipped_in_later_is_refused",
    "V5": "test_head_age.py::test_what_is_written_under_a_hidden_removal_lands_nowhere_else",
    "V6": "test_inviting.py::test_an_invite_of_a_forked_log_is_refused_by_the_newcomer",
    "V7": "test_ledger_members.py::"
    "test_a_leaked_link_opens_names_at_most_and_nothing_after_it_was_used",
    "V8": "test_trust_sides.py::test_an_epoch_short_or_long_by_one_holder_is_refused",
    "V9": "test_uploads.py::test_batches_that_a_server_lists_are_never_committed",
    "V10": "test_handover.py::test_the_seller_moves_nothing_under_an_open_offer",
    "V11": "test_group.py::test_zero_and_unreduced_scalars_are_refused",
    "V12": "test_vectors_primitives.py::test_ed25519_of_cctv",
    "W1": "test_ledger_commits.py::test_a_tainted_epoch_takes_nothing_and_an_older_one_does",
    "W2": "test_ledger_handover.py::test_an_offer_that_ends_taints_what_it_disclosed",
    "W3": "test_trust_acts.py::test_an_invite_of_a_removed_admin_lets_nobody_in",
    "W4": "test_trust_acts.py::test_a_demoted_admin_writes_no_more_data",
    "W5": "test_ledger_pairs.py::test_what_meets_a_re_encryption_is_as_the_specification_says",
    "W6": "test_ledger_keys.py::test_an_epoch_is_retired_once_nothing_lies_under_it",
    "W7": "test_trust_acts.py::test_a_date_that_the_server_did_not_sign_expires_nothing",
    "W9": "test_restored.py::test_what_was_removed_erased_and_sold_stays_so_for_whoever_saw_it",
    "W10": "test_session.py::test_whoever_floods_is_removed_at_the_first_try",
    # state and log
    "S1": "test_trust.py::test_an_earlier_state_is_refused",
    "S2": "test_trust.py::test_an_earlier_state_is_refused",
    "S3": "test_two_histories.py::"
    "test_the_first_act_of_one_history_that_gets_into_the_other_shows_both",
    "S4": "test_trust.py::test_a_frozen_log_is_found_out_by_the_clock",
    "S5": "test_trust.py::test_leaves_that_the_checkpoint_counts_are_not_left_out",
    "S6": "test_trust.py::test_leaves_other_than_those_signed_for_are_refused",
    "S7": "test_vectors_primitives.py::test_consistency_proofs",
    "S8": "test_merkle.py::test_no_leaf_passes_for_a_node",
    "S9": "test_trust.py::test_another_vaults_whole_log_is_refused_though_signed_for_this_one",
    "S10": "test_server_uploads.py::test_nothing_of_a_removed_member_lands_after_its_removal",
    "S11": "test_cheating_members.py::test_who_was_removed_opens_nothing_new_on_a_copy_of_the_disk",
    "S12": "test_restored.py::test_everybody_who_saw_more_refuses_what_was_put_back",
    "S13": "test_server_faults.py::test_no_checkpoint_is_signed_over_what_changed",
    "S14": "test_trust_acts.py::test_of_two_epochs_with_one_number_the_second_is_refused",
    # HTTP, authorisation, oracles
    "H1": "test_requests.py::test_of_ten_thousand_replays_none_is_accepted",
    "H2": "test_requests.py::test_a_digest_is_there_once_and_wherever_there_is_a_body",
    "H3": "test_requests.py::test_components_are_exactly_those_of_the_profile",
    "H4": "test_requests.py::test_a_second_signature_is_refused_wherever_it_stands",
    "H5": "test_requests.py::test_an_hmac_under_the_public_key_is_no_signature",
    "H6": "test_server_door.py::test_a_wrong_clock_is_told_the_servers_time",
    "H7": "test_trust.py::test_answers_swapped_between_requests_are_refused",
    "H8": "test_server_door.py::test_what_two_servers_could_split_differently_ends_the_connection",
    "H9": "test_server_door.py::test_only_the_exact_paths_are_there",
    "H10": "test_server_hostile.py::test_the_ids_of_one_vault_open_nothing_in_another",
    "H11": "test_server_access.py::"
    "test_strangers_cannot_tell_what_is_not_there_from_what_is_not_theirs",
    "H12": "test_server_access.py::test_acts_by_whoever_may_not_change_nothing",
    "H13": "test_canaries.py::test_the_log_holds_no_token_and_no_whole_id",
    # parsing and exhaustion
    "D1": "test_server_door.py::test_a_small_body_never_becomes_a_large_heap",
    "D2": "test_api_messages.py::test_no_byte_changed_gives_the_same_message",
    "D3": "test_server_door.py::test_a_body_is_refused_by_its_head_alone",
    "D4": "test_logs.py::test_a_storm_makes_few_lines",
    "D5": "test_server_door.py::test_a_slow_body_is_cut_off",
    "D6": "test_transport.py::test_an_endless_answer_ends_at_its_cap",
    "D7": "test_complex_heads.py::test_a_head_that_is_hard_to_read_lets_nobody_in",
    "D8": "test_hostile_names.py::test_names_that_are_sql_or_paths_come_back_as_names",
    "D9": "test_catalogs.py::test_what_a_writer_got_wrong_names_nothing_and_keeps_nobody_out",
    "D10": "test_engines.py::TestEqualBytes::test_arrays_of_any_layout",
    # the local machine, and metadata
    "L1": "test_keyring.py::test_a_weakened_file_is_refused_before_the_passphrase",
    "L2": "test_keyring.py::test_a_costly_file_is_refused_before_the_passphrase_is_asked_for",
    "L3": "test_joining.py::test_an_old_keyring_brings_no_old_state_back",
    "L4": "test_keyring.py::test_a_ciphertext_that_opens_is_not_enough",
    "L5": "test_keyring.py::test_files_are_for_their_owner_only_from_the_first_byte",
    "L6": "test_hostile_names.py::test_no_name_becomes_a_path",
    "M1": "test_canaries.py::test_the_server_holds_no_cell_no_name_and_no_key",
    "M2": "test_server_retiring.py::test_of_a_destroyed_vault_the_log_is_left_and_nothing_else",
    "M3": "test_side_channels.py::test_no_hash_of_a_value_or_a_name_is_anywhere",
    # faults
    "R1": "test_server_process.py::test_what_was_acknowledged_survives_being_killed",
    "R2": "test_upload_cuts.py::test_a_client_killed_at_any_request_goes_on_from_its_disk",
    "R3": "test_server_faults.py::test_a_failing_store_leaves_everything_as_it_was",
    "R4": "test_storage_sqlite.py::test_a_full_disk_is_said_and_nothing_is_half_done",
    "R5": "test_storage_sqlite.py::test_a_torn_wal_opens_at_a_commit",
    "R6": "test_storage_power.py::test_whenever_the_power_goes_nothing_acknowledged_is_lost",
    "R7": "test_storage_sqlite.py::test_one_connection_writes_and_the_settings_are_in_force",
    "R8": "test_bit_rot.py::"
    "test_of_a_changed_bit_nothing_false_comes_and_nothing_is_lost_in_silence",
    "R9": "test_session.py::test_two_homes_of_one_member_act_at_once",
    "R10": "test_command_cuts.py::test_an_acceptance_cut_anywhere_is_made_once",
    "R11": "test_uploads.py::test_a_removal_during_an_upload_has_it_sealed_anew",
    "R12": "test_server_faults.py::test_a_store_that_did_what_it_said_it_did_not_is_caught_up_with",
    "R15": "test_soaking.py::test_everybody_is_served_beside_the_idle_the_slow_and_the_greedy",
    "R16": "test_server_door.py::test_whoever_does_not_read_is_cut_off",
    "R17": "test_server_door.py::test_a_body_is_refused_by_its_head_alone",
    "R18": "test_server_hostile.py::"
    "test_whatever_is_asked_is_refused_with_a_code_soon_and_in_bounds",
    "R19": "test_fuzzing.py::test_every_parser_gives_a_value_or_an_error_of_ours",
    "R20": "test_requests.py::test_a_server_clock_set_back_opens_no_replay",
    "R21": "test_command_cuts.py::test_a_removal_cut_anywhere_is_a_removal_and_rotating_ends_it",
    "R22": "test_soaking.py::test_everybody_is_served_beside_the_idle_the_slow_and_the_greedy",
    "R23": "test_restored.py::test_a_backup_taken_while_it_is_written_is_a_past_of_the_log",
    "R24": "test_older_stores.py::"
    "test_what_an_earlier_build_of_this_version_wrote_is_served_and_gone_on_with",
    "R25": "test_million.py::"
    "test_a_long_table_goes_up_and_down_over_interruptions_in_little_memory",
    "R26": "test_mutants.py::test_tests_notice_what_is_taken_out",
}
"""The test of each id: a file in this folder, and the name in it."""

BESIDE: Final[Mapping[str, tuple[str, ...]]] = {
    "K1": (
        "test_identity.py::test_a_joiner_s_card_is_for_one_vault_and_one_invite",
        "test_people.py::test_nobody_is_confirmed_before_the_words_were_compared",
        "test_handover.py::test_the_owner_compares_the_buyers_words_itself_before_it_discloses",
    ),
    "K2": (
        "test_trust.py::test_another_vaults_whole_log_is_refused_though_signed_for_this_one",
        "test_inviting.py::test_an_invite_of_a_forked_log_is_refused_by_the_newcomer",
        "test_ledger_members.py::test_nothing_is_granted_before_confirm",
    ),
    "K4": ("test_ledger_log.py::test_an_act_in_another_s_name_is_refused",),
    "K12": ("test_crypto_keys.py::test_the_keys_are_derived_as_specified",),
    "K14": (
        "test_ledger_transitions.py::test_who_may_do_what_and_when",
        "test_ledger_members.py::test_admins_are_made_and_removed_by_the_owner_only",
        "test_erasing_names.py::test_a_server_keeps_so_many_names_by_one_member_and_no_more",
    ),
    "K15": ("test_renewal.py::test_each_try_that_may_have_landed_has_a_seed_of_its_own",),
    "K16": (
        "test_rescue.py::test_words_are_compared_only_for_what_the_rules_allow",
        "test_rescue.py::test_an_owner_deals_to_nobody_whose_words_it_has_not_compared_itself",
    ),
    "C5": (
        "test_catalogs.py::"
        "test_whoever_is_told_that_a_vault_is_frozen_does_not_go_on_without_names",
        "test_exporting.py::test_fewer_records_than_were_committed_are_no_export",
    ),
    "C13": ("test_cells.py::TestKeySchedule::test_salt_batch_key_cell_keys_and_cells",),
    "C14": ("test_documents_chunks.py::test_chunks_that_are_not_the_document_s_are_refused",),
    "C15": ("test_documents_chunks.py::test_nothing_in_a_chunk_is_compressed",),
    "C16": ("test_cells.py::TestKeySchedule::test_every_call_draws_its_own_batch_id_and_salt",),
    "Z4": (
        "test_crypto_keys.py::test_a_key_that_is_not_the_published_one_is_refused",
        "test_renewal.py::test_whoever_was_given_false_keys_can_move_on_at_once_without_them",
    ),
    "V3": (
        "test_ledger_data.py::test_what_was_erased_stays_erased_where_it_moves",
        "test_false_erasures.py::test_an_erasure_takes_exactly_what_it_names_and_changes_nothing",
    ),
    "V4": (
        "test_trust_acts.py::test_a_withheld_grant_does_not_outlive_what_others_did_since",
        "test_server_vaults.py::test_an_act_that_cites_a_checkpoint_of_long_ago_is_refused",
    ),
    "V5": (
        "test_head_age.py::test_whoever_is_not_shown_a_removal_writes_nothing_for_long",
        "test_ledger_commits.py::test_a_tainted_epoch_takes_nothing_and_an_older_one_does",
        "test_head_age.py::"
        "test_a_heartbeat_of_a_time_to_come_lets_nobody_write_and_ends_with_the_next",
        "test_uploads.py::test_what_a_server_still_lists_under_a_closed_key_is_sealed_anew",
    ),
    "V7": (
        "test_ledger_members.py::test_closing_an_invite_taints_the_data_it_carried_and_no_catalog",
        "test_ledger_members.py::test_an_invite_carries_data_where_policy_lets_it",
    ),
    "V10": ("test_handover.py::test_a_receipt_of_anything_else_is_refused",),
    "W2": (
        "test_ledger_handover.py::"
        "test_a_buyer_that_did_not_buy_is_never_served_what_it_has_the_keys_of",
    ),
    "W3": (
        "test_ledger_members.py::test_who_lost_a_grant_does_not_keep_it_by_an_invite_of_its_own",
    ),
    "W4": (
        "test_ledger_holders.py::"
        "test_an_admin_is_not_served_what_it_has_the_key_of_and_holds_no_more",
        "test_ledger_members.py::test_a_demoted_admin_loses_its_data_tainted",
    ),
    "W7": (
        "test_ledger_log.py::test_nobody_but_an_admin_ends_an_invite",
        "test_ledger_log.py::test_an_unconfirmed_admin_ends_no_invite",
    ),
    "W10": ("test_ledger_handover.py::test_an_offer_drops_what_is_half_committed",),
    "S3": ("test_trust.py::test_two_histories_are_a_fork_and_both_are_kept_as_proof",),
    "S10": (
        "test_server_uploads.py::test_a_bundle_that_a_removal_overtook_is_taken_back_whole",
        "test_server_uploads.py::"
        "test_what_is_being_sent_ends_at_the_block_before_which_it_may_be_read_no_more",
        "test_ledger_log.py::test_only_the_live_sign_but_for_attestations",
    ),
    "S11": (
        "test_crypto_wraps.py::test_who_was_removed_opens_no_key_made_since",
        "test_ledger_members.py::test_a_revocation_taints_the_catalogs_whose_keys_were_kept",
    ),
    "H1": ("test_requests.py::test_a_clock_that_runs_ahead_opens_no_replay_across_a_restart",),
    "H10": (
        "test_storage_contract.py::"
        "TestSqliteKeepsTheContract::test_two_vaults_with_the_same_ids_never_meet",
    ),
    "H11": (
        "test_requests.py::test_an_unknown_key_id_costs_a_verification_and_is_told_the_same",
        "test_side_channels.py::test_a_refusal_costs_one_verification_and_no_look_into_the_store",
    ),
    "D4": ("test_allowance.py::test_a_day_has_so_many_leaves_for_each_member",),
    "D5": (
        "test_server_door.py::test_a_silent_connection_is_closed",
        "test_places.py::test_one_vault_leaves_half_of_the_places_and_two_a_quarter",
        "test_places.py::test_a_queue_of_one_vault_keeps_another_waiting_for_one_turn_at_most",
        "test_server_slow.py::test_no_large_act_is_read_of_those_who_have_none_to_send",
    ),
    "D6": (
        "test_trust.py::test_a_log_without_end_is_not_begun",
        "test_transport.py::test_a_drip_that_never_pauses_ends_too",
    ),
    "D9": (
        "test_catalogs.py::test_a_field_is_named_by_the_catalog_of_its_own_class_and_no_other",
        "test_rogue_admins.py::test_an_admin_renames_nobody_whom_another_invited",
    ),
    "L6": (
        "test_cli_output.py::test_visible_text_has_nothing_that_a_terminal_acts_on",
        "test_documents_lies.py::test_a_name_leads_nowhere_but_into_the_folder",
        "test_documents_lies.py::test_a_link_in_the_way_is_not_followed",
        "test_documents_lies.py::test_what_others_could_read_or_write_is_not_gone_on_with",
    ),
    "M2": (
        "test_server_erasing.py::test_nothing_of_what_was_erased_is_in_any_file",
        "test_server_staged.py::test_what_waits_under_the_key_of_somebody_removed_goes",
    ),
    "R8": (
        "test_bit_rot.py::test_a_wrong_number_makes_the_server_delete_nothing",
        "test_bit_rot.py::test_what_rots_while_the_server_runs_is_found_though_nobody_asks",
    ),
    "R10": (
        "test_command_cuts.py::test_an_offer_cut_anywhere_is_made_once",
        "test_command_cuts.py::test_a_rejection_cut_anywhere_is_made_once",
    ),
    "R20": (
        "test_clock_jumps.py::test_clocks_that_are_set_together_and_back_stop_nobody_for_long",
    ),
}
"""Tests of further defences of a row."""


def settling(name: str) -> tuple[str, ...]:
    """Return the tests that settle an id."""
    return (SETTLED[name], *BESIDE.get(name, ()))


@dataclass(frozen=True)
class Row:
    """One id as the page has it: what it is; what stops it, or what it waits for, or why not."""

    id: str
    threat: str
    beside: str


def page_part(title: str) -> str:
    """Return what stands below a heading of the page, up to the next of its level."""
    _, found, rest = PAGE.read_text(encoding="utf-8").partition(f"\n{title}\n")
    assert found, f"the page has no heading {title!r}"
    return rest.partition("\n## ")[0]


def rows(title: str) -> list[Row]:
    """Return the rows of the tables below a heading, in order."""
    return [Row(*found) for found in LINE.findall(page_part(title))]


class Recorder:
    """Counts how every test ended, whichever process ran it."""

    def __init__(self) -> None:
        self.ended: dict[str, Counter[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count what pytest reports: a test's call, and all else only where it is not well."""
        if report.when == "call" or report.outcome != "passed":
            name = report.nodeid.partition("[")[0].removeprefix("tests/")
            self.ended.setdefault(name, Counter())[report.outcome] += 1

    def of(self, *tests: str) -> str:
        """Say in a word how tests ended, with all their parameters: what is worst of them."""
        words = {self._of(test) for test in tests}
        return next(each for each in ("failed", "not run", "skipped", "passed") if each in words)

    def _of(self, test: str) -> str:
        found = self.ended.get(test, Counter())
        if found["failed"]:
            return "failed"
        if found["passed"]:
            return "passed"
        return "skipped" if found["skipped"] else "not run"


def print_table(ended: Recorder, console: Console) -> None:
    """Print a line for each id of the page, in the order of the page."""
    table = Table("id", "threat", box=box.SIMPLE_HEAD)
    table.add_column("test, or why there is none", overflow="fold")
    table.add_column("result")
    for row in rows(STOPPED):
        tests = settling(row.id)
        table.add_row(row.id, row.threat, "\n".join(tests), ended.of(*tests))
    for row in rows(WAITING):
        table.add_row(row.id, row.threat, row.beside, "waiting")
    for row in rows(UNTESTABLE):
        table.add_row(row.id, row.threat, row.beside, "untestable here")
    console.print(table)


def results(ended: Recorder) -> Counter[str]:
    """Count the ids by how they ended."""
    counts = Counter(ended.of(*settling(row.id)) for row in rows(STOPPED))
    return counts + Counter(
        {"waiting": len(rows(WAITING)), "untestable here": len(rows(UNTESTABLE))}
    )


def main(arguments: Iterable[str]) -> int:
    """Run the tests of every id, print the table, and return 0 if all of them passed."""
    recorder = Recorder()
    tests = sorted({f"tests/{test}" for name in SETTLED for test in settling(name)})
    pytest.main(["-q", "-n", "2", *arguments, *tests], plugins=[recorder])
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    print_table(recorder, console)
    counts = results(recorder)
    console.print(", ".join(f"{counts[each]} {each}" for each in sorted(counts)))
    return 1 if counts["failed"] or counts["not run"] or counts["skipped"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
