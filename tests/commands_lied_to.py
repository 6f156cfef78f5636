"""Every command of the command line that meets a server, as somebody of the company gives it."""

from __future__ import annotations

from typing import Final

from tests.lied_to import Command

COMMANDS: Final = {
    # what is shown
    "vault status": Command("bo", "vault status"),
    "members": Command("ada", "members"),
    "collection list": Command("bo", "collection list"),
    "collection show": Command("bo", "collection show orders"),
    "log": Command("aud", "log --verify"),
    "policy show": Command("kim", "policy show"),
    "recovery status": Command("olga", "recovery status"),
    "revoke --dry-run": Command("ada", "revoke Bo --reason left --dry-run"),
    "rotate --dry-run": Command("ada", "rotate --reencrypt --dry-run"),
    # records, on the screen and in files
    "read": Command("bo", "read orders"),
    "read --where": Command("bo", "read orders --where item~item --numbers"),
    **{
        f"read --out .{kind}": Command("bo", f"read orders --out {{out}}/orders.{kind}")
        for kind in ("csv", "xlsx", "parquet", "sqlite", "arrow", "jsonl")
    },
    # what is written
    "upload": Command("ada", "upload {here}/more.csv --collection more --yes"),
    "invite": Command("ada", "invite bidder --name Eve --classes general"),
    "confirm": Command("olga", "confirm Una --yes"),
    "role": Command("olga", "role Aud keyless-admin"),
    "grant": Command("ada", "grant Bo --classes core"),
    "withdraw": Command("ada", "withdraw Bo --classes general"),
    "revoke": Command("ada", "revoke Bo --reason left"),
    "rotate": Command("ada", "rotate --collection customers"),
    "rotate --reencrypt": Command("ada", "rotate --collection customers --reencrypt"),
    "erase": Command("kim", "erase customers --records 2 --reason request --yes"),
    "collection retire": Command("ada", "collection retire customers --reason terms --yes"),
    "freeze": Command("ada", "freeze --reason breach"),
    "policy set": Command("olga", "policy set --head-age 1h"),
    "heartbeat": Command("olga", "heartbeat"),
    "recovery setup": Command("olga", "recovery setup --custodians Ada,Kim --threshold 2"),
    "handover offer": Command("olga", "handover offer Bo --yes"),
    "recovery end": Command("olga", "recovery end"),
    "identity rotate": Command("bo", "identity rotate"),
    "withdraw an invite": Command("olga", "withdraw Fay"),
    "unfreeze": Command("olga", "unfreeze"),
    "attest": Command("rex", "attest destroyed --yes"),
    "vault destroy": Command("olga", "vault destroy --reason terms --yes"),
    # the first contact
    "join": Command("ivy", "join {link} --yes"),
}
OFFERED: Final = {
    "handover status": Command("bo", "handover status", offered=True),
    "handover accept": Command("bo", "handover accept --yes", offered=True),
    "handover takeover": Command("bo", "handover takeover", offered=True),
    "handover reject": Command("bo", "handover reject --reason terms", offered=True),
}
CREATE: Final = Command("new", "vault create localhost:8443 --title New --token {token}")

SHOWING: Final = tuple(name for name in COMMANDS if COMMANDS[name].line.startswith("read"))
WRITING: Final = tuple(COMMANDS)[tuple(COMMANDS).index("upload") : -1]
