"""Every command with what it asks of a vault, what that answers, and what is shown of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from client.crypto.secrets import Seed
from client.kits import Kit
from client.tables import WriteOptions
from protocol.acts import Reason, Role
from tests.cli_world import (
    ACCEPTED,
    ACT,
    ANSWERS,
    ATTACHED,
    ATTESTED,
    COLLECTION,
    CONFIRMED,
    CORE,
    ERASED,
    FETCHED,
    GENERAL,
    GIVEN_UP,
    ID,
    INFO,
    INVITE,
    JOINED,
    LINK,
    LOG,
    MEMBERS,
    MOVED,
    MOVED_IDENTITY,
    OFFER,
    OFFERED,
    POLICY,
    READ,
    RECOVERY,
    REMOVED,
    RESCUE,
    RESCUED,
    REVOKE_PLAN,
    REVOKED,
    ROTATE_PLAN,
    ROTATED,
    SENSITIVE,
    SIGNED,
    STATUS,
    WORDS,
    Call,
)

ROTATE: dict[str, Any] = {
    "collection": None, "fields": None, "tainted": False, "reencrypt": False
}  # fmt: skip
KIT_WORDS = "abandon " * 23 + "art"
KIT = Kit(b"\xab" * 32, "https://h:1", b"\xcd" * 32, Seed(bytes(32)))

AS_IT_CAME: dict[str, Any] = {"where": (), "options": WriteOptions()}

COMMANDS: list[tuple[str, Call, Any, str]] = [
    ("vault status", ("status", (), {}), STATUS, "1,000,000 records"),
    (
        "collection list",
        ("collections", (), {}),
        {"collections": ANSWERS["collections"]},
        "120.6 KiB",
    ),
    ("collection show X", ("collection", ("X",), {}), COLLECTION, "2, to be rotated"),
    ("members", ("members", (), {}), {"members": MEMBERS}, "core (when confirmed)"),
    (
        "confirm Ann --yes",
        ("confirm", ("Ann",), {"words": None, "yes": True, "classes": ()}),
        CONFIRMED,
        "confirmed: ",
    ),
    (
        f"confirm Ann --words '{WORDS.upper()}' --classes core,general",
        ("confirm", ("Ann",), {"words": WORDS, "yes": False, "classes": (CORE, GENERAL)}),
        CONFIRMED,
        "granted: core, ",
    ),
    (
        "role Ann keyless-admin",
        ("change_role", ("Ann", Role.KEYLESS_ADMIN), {"words": None, "yes": False}),
        ACT,
        "now key",
    ),
    (
        f"role Ann admin --words '{WORDS.upper()}'",
        ("change_role", ("Ann", Role.ADMIN), {"words": WORDS, "yes": False}),
        ACT,
        "now admin",
    ),
    (
        "grant Ann --classes general,core --classes core",
        ("grant", ("Ann",), {"classes": (GENERAL, CORE), "fields": (), "collection": None}),
        ACT,
        "granted to: ",
    ),
    (
        "grant Ann --fields 'iban,\"a, b\"' --collection X",
        ("grant", ("Ann",), {"classes": (), "fields": ("iban", "a, b"), "collection": "X"}),
        ACT,
        "granted to: ",
    ),
    ("withdraw Ann", ("withdraw_invite", ("Ann",), {}), ACT, "invite withdrawn: "),
    (
        "withdraw Ann --classes sensitive --collection X",
        ("withdraw_grant", ("Ann",), {"classes": (SENSITIVE,), "fields": (), "collection": "X"}),
        ACT,
        "grants ended: ",
    ),
    (
        "withdraw Ann --fields iban",
        ("withdraw_grant", ("Ann",), {"classes": (), "fields": ("iban",), "collection": None}),
        ACT,
        "grants ended: ",
    ),
    (
        "revoke Ann --reason lost-bid",
        ("revoke", ("Ann", Reason.LOST_BID), {"reencrypt": False, "reinvite": False}),
        REVOKED,
        "2 reads",
    ),
    (
        "revoke Ann --reason key-lost --reencrypt --reinvite",
        ("revoke", ("Ann", Reason.KEY_LOST), {"reencrypt": True, "reinvite": True}),
        REVOKED,
        f"operator does not see:\n{LINK}",
    ),
    (
        "revoke Ann --reason left --dry-run",
        ("plan_revocation", ("Ann",), {"reencrypt": False, "reinvite": False}),
        REVOKE_PLAN,
        "would remove: ",
    ),
    ("rotate", ("rotate", (), ROTATE), ROTATED, "wraps   1,234"),
    (
        "rotate --collection X --fields a,b",
        ("rotate", (), {**ROTATE, "collection": "X", "fields": ("a", "b")}),
        ROTATED,
        "4 fields",
    ),
    ("rotate --tainted", ("rotate", (), {**ROTATE, "tainted": True}), ROTATED, "leaf 8"),
    ("rotate --reencrypt", ("rotate", (), {**ROTATE, "reencrypt": True}), ROTATED, "leaf 8"),
    (
        "rotate --fields a --reencrypt --dry-run",
        ("plan_rotation", (), {**ROTATE, "fields": ("a",), "reencrypt": True}),
        ROTATE_PLAN,
        "about 1 min, at the rate of the last time",
    ),
    (
        "rotate --dry-run",
        ("plan_rotation", (), ROTATE),
        ROTATE_PLAN,
        "would rotate: 4 fields; nothing was done",
    ),
    ("handover takeover", ("takeover", (), {}), MOVED, "4,000 cells in 30 blocks, 9.8 KiB"),
    (
        "erase X --records 3-4,1 --reason request --yes",
        ("erase", ("X", (1, 3, 4)), {"unreadable": False, "reason": Reason.REQUEST}),
        ERASED,
        "leaves 9, 11",
    ),
    (
        "erase --names-by Kim --reason breach --yes",
        ("erase_names", ("Kim",), {"reason": Reason.BREACH}),
        ERASED,
        "erased: 1,204 records of ",
    ),
    (
        "erase X --unreadable --reason breach --yes",
        ("erase", ("X", ()), {"unreadable": True, "reason": Reason.BREACH}),
        ERASED,
        "erased: 1,204 records of ",
    ),
    (
        "collection retire X --reason retention --yes",
        ("retire_collection", ("X", Reason.RETENTION), {}),
        ACT,
        "retired: X (leaf 7",
    ),
    ("collection give-up X", ("give_up", ("X",), {}), GIVEN_UP, "given up: 2 uploads to X"),
    ("freeze --reason breach", ("freeze", (Reason.BREACH,), {}), ACT, "frozen (leaf 7"),
    ("unfreeze", ("unfreeze", (), {}), ACT, "no longer frozen (leaf 7"),
    ("heartbeat", ("heartbeat", (), {}), SIGNED, "signed (leaf 7"),
    (
        "vault destroy --reason terms --yes",
        ("destroy", (Reason.TERMS,), {}),
        ACT,
        "destroyed (leaf 7",
    ),
    ("policy show", ("policy", (), {}), POLICY, "signed within 0.5 days, or nobody writes"),
    (
        "policy set --head-age 12h --head-signers 'Ann,Bo' --invite-data",
        (
            "change_policy",
            (),
            {
                "invite_days": None,
                "offer_days": None,
                "head_days": 0.5,
                "invite_data": True,
                "head_signers": ("Ann", "Bo"),
            },
        ),
        POLICY,
        f"the owner, {ID[:16]}",
    ),
    (
        "policy set --invites 7d --offers 2w --head-signers '' --no-invite-data",
        (
            "change_policy",
            (),
            {
                "invite_days": 7,
                "offer_days": 14,
                "head_days": None,
                "invite_data": False,
                "head_signers": (),
            },
        ),
        POLICY,
        "at most 30 days",
    ),
    ("attest destroyed --yes", ("attest_destroyed", (), {}), ATTESTED, "destroyed, and attested"),
    (
        "identity rotate",
        ("rotate_identity", (), {"leave_false_keys": False}),
        MOVED_IDENTITY,
        "you have new keys (leaf 9",
    ),
    (
        "identity rotate --leave-false-keys",
        ("rotate_identity", (), {"leave_false_keys": True}),
        MOVED_IDENTITY,
        "left behind, for they were given to you false: ",
    ),
    (
        "identity backup --out kit.html",
        ("backup", (Path("kit.html"),), {}),
        {"page": "kit.html", "unconfirmed": None},
        "written: kit.html",
    ),
    (
        f"identity restore --words '{KIT_WORDS}' --server H:1 --vault-id {ID} --pin {'CD' * 32}",
        ("restore", (KIT,), {"server": "https://h:1", "pin": b"\xcd" * 32}),
        INFO,
        "identity-1",
    ),
    (
        "recovery setup --custodians Ann,Bo --threshold 2",
        ("set_up_recovery", (("Ann", "Bo"), 2), {"words": {}, "yes": False}),
        RECOVERY,
        "2 of 2 custodians rebuild the owner's keys",
    ),
    ("recovery end", ("end_recovery", (), {}), ACT, "recovery ended (leaf 7"),
    (
        "recovery status",
        ("recovery_status", (), {}),
        {"recovery": RECOVERY},
        "your share is the one that was dealt",
    ),
    (
        f"recovery request H:1 {ID} --pin {'CD' * 32}",
        ("rescue_request", ("https://h:1", b"\xab" * 32, b"\xcd" * 32), {}),
        RESCUE,
        "sealroom-rescue:AAAA\n",
    ),
    (
        f"recovery words {ID.upper()} {'cd' * 32}",
        ("rescue_words", (b"\xab" * 32, b"\xcd" * 32), {}),
        {"words": WORDS},
        "abandon   ability   able      about",
    ),
    (
        f"recovery release request.txt --words '{WORDS}'",
        ("release_share", ("sealroom-rescue:AAAA",), {"words": WORDS, "yes": False}),
        ACT,
        "share released (leaf 7",
    ),
    ("recovery rebuild", ("rebuild", (None,), {}), RESCUED, "you are the owner, under new keys"),
    (
        "handover offer Ann",
        ("offer", ("Ann",), {"days": 14, "words": None, "yes": False}),
        OFFERED,
        "1,234, each with a proof",
    ),
    (
        "handover offer Ann --expires 36h --yes",
        ("offer", ("Ann",), {"days": 1.5, "words": None, "yes": True}),
        OFFERED,
        "leaf 9",
    ),
    ("handover accept --yes", ("accept", (), {"words": None, "yes": True}), ACCEPTED, "9.8 KiB"),
    (
        f"handover accept --words '{WORDS}'",
        ("accept", (), {"words": WORDS, "yes": False}),
        ACCEPTED,
        "accepted: the vault is yours",
    ),
    ("handover reject --reason terms", ("reject", (Reason.TERMS,), {}), ACT, "rejected (leaf 7"),
    ("handover reject", ("reject", (Reason.OTHER,), {}), ACT, "rejected (leaf 7"),
    ("handover status", ("status", (), {}), {"offer": OFFER}, "offered to "),
    ("log", ("log", (), {"verify": False}), LOG, "rules core, "),
    ("log --verify", ("log", (), {"verify": True}), LOG, "2 leaves, from the first"),
    (
        "read X --out out.csv --fields a --limit 9 --overwrite --numbers",
        (
            "export",
            ("X",),
            {
                "fields": ("a",),
                "limit": 9,
                "path": Path("out.csv"),
                "overwrite": True,
                "numbers": True,
            }
            | AS_IT_CAME,
        ),
        READ,
        "50 records of 2 fields verified and written to ",
    ),
    (
        "read X --out out.parquet",
        (
            "export",
            ("X",),
            {
                "fields": None,
                "limit": None,
                "path": Path("out.parquet"),
                "overwrite": False,
                "numbers": False,
            }
            | AS_IT_CAME,
        ),
        READ,
        "fetched  9.8 KiB",
    ),
    (
        "attach t.csv",
        ("attach", (Path("t.csv"),), {"field_class": SENSITIVE, "name": None}),
        {"documents": [ATTACHED]},
        "attached as core\nsize     19.5 KiB",
    ),
    (
        "attach t.csv --class core --name 'the lease.pdf'",
        ("attach", (Path("t.csv"),), {"field_class": CORE, "name": "the lease.pdf"}),
        {"documents": [ATTACHED]},
        "3 batches were there already",
    ),
    (
        "documents list",
        ("documents", (), {}),
        {"documents": ANSWERS["documents"]},
        "damaged",
    ),
    (
        "documents get X",
        (
            "get_document",
            ("X",),
            {"path": None, "folder": Path(), "overwrite": False},
        ),
        {"documents": [FETCHED], "failed": []},
        "resumed  after 7.8 KiB",
    ),
    (
        "documents get X --into D --overwrite",
        (
            "get_document",
            ("X",),
            {"path": None, "folder": Path("D"), "overwrite": True},
        ),
        {"documents": [FETCHED], "failed": []},
        "verified and written to ",
    ),
    (
        "documents get X --out F",
        (
            "get_document",
            ("X",),
            {"path": Path("F"), "folder": Path(), "overwrite": False},
        ),
        {"documents": [FETCHED], "failed": []},
        ID,
    ),
    (
        "documents get X Y --into D",
        ("get_documents", (("X", "Y"),), {"folder": Path("D"), "overwrite": False}),
        {"documents": [FETCHED], "failed": []},
        "verified and written to ",
    ),
    (
        "documents remove X --reason retention --yes",
        ("remove_document", ("X",), {"reason": Reason.RETENTION}),
        REMOVED,
        "leaves 9, 11",
    ),
    (
        "invite bidder --name ' Ann '",
        ("invite", (Role.BIDDER,), {"name": "Ann", "classes": None, "days": 14}),
        INVITE,
        LINK,
    ),
    (
        "invite admin --name Ann --classes core --expires 1w",
        ("invite", (Role.ADMIN,), {"name": "Ann", "classes": (CORE,), "days": 7}),
        INVITE,
        LINK,
    ),
    (
        f"vault create H:1 --title Lark --name Sam --pin {'AB' * 32} --token T",
        (
            "create_vault",
            ("https://h:1",),
            {"title": "Lark", "name": "Sam", "pin": b"\xab" * 32, "token": "T"},
        ),
        INFO,
        ID,
    ),
    (
        "vault create https://h",
        (
            "create_vault",
            ("https://h",),
            {"title": "", "name": "owner", "pin": None, "token": ""},
        ),
        INFO,
        ID,
    ),
    (
        f"join {LINK} --yes",
        ("join", (LINK,), {"words": None, "yes": True, "identity": None}),
        JOINED,
        "words    abandon",
    ),
    (
        f"join {LINK} --words '{WORDS}' --name me",
        ("join", (LINK,), {"words": WORDS, "yes": False, "identity": "me"}),
        JOINED,
        "bidder, unconfirmed",
    ),
]  # fmt: skip
