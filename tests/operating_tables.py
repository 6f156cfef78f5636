"""The tables of docs/operating.md: `python -m tests.operating_tables` writes them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Final

import click

from protocol.limits import KIB, MIB
from tests.spec_tables import rows_of, with_tables
from vault.config import LIMITS, RANGES, Config
from vault.logs import Event

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "operating.md"

SETTINGS: Final = {
    "requests_per_second": "requests of one member, in the long run",
    "request_burst": "requests of one member at once",
    "act_cost": "as so many requests an act counts",
    "fetch_cost": "as so many requests a fetch counts",
    "acts_per_day": "acts of an owner or admin in a day; others have a tenth, and a fetch is a"
    " twentieth of an act",
    "creates_per_second": "vaults created, by all together",
    "create_burst": "vaults created at once",
    "body_deadline_seconds": "until a body must have arrived",
    "body_grace_seconds": "after which a body must keep up a rate",
    "body_bytes_per_second": "that rate, on average",
    "max_connections": "connections",
    "max_connections_per_address": "connections of one address, or /64 of IPv6; behind a proxy all"
    " come from one",
    "concurrent_uploads": "bodies above a mebibyte at once, on each path",
    "staged_bytes_per_member": "bytes that one member has uploaded and not committed",
    "reserve_bytes": "bytes of the disk that uploads leave for acts: to freeze, remove, erase",
    "loaded_vaults": "vaults kept in memory",
    "drain_seconds": "which requests under way have when the server stops",
}
EVENTS: Final = {
    Event.SERVER_STARTED: "it takes connections, on `port`",
    Event.SERVER_STOPPED: "it is about to end",
    Event.STORAGE_OPENED: "the database is open; `wal_reset_safe` 0: SQLite older than 3.51.3",
    Event.STORAGE_FAILED: "the store could not do something; `error` says what kind",
    Event.VAULT_CREATED: "a vault was created",
    Event.ACT_APPENDED: "an act landed in a vault's log",
    Event.UPLOADS_EXPIRED: "uploads that nobody committed for a week were deleted",
    Event.SWEPT: "what was to be deleted is nowhere in the files any more",
    Event.SWEEP_WAITS: "something reads the database, such as a copy that is taken; what was"
    " deleted is overwritten when it is done",
    Event.DISK_LOW: "the disk has `bytes` left, less than `reserve_bytes`: no upload is taken",
    Event.STORAGE_DAMAGED: "something is not what it was; of one vault, or (without `vault`) of the"
    " whole store",
    Event.READ_THROUGH: "everything was read, and is what it was: `count` blocks, `bytes`",
    Event.REQUEST: "a request was answered",
    Event.REQUEST_REFUSED: "a request was refused; `error` is the code that the client was told",
    Event.INTERNAL_ERROR: "a bug; `error` is the exception's class",
}


def settings() -> str:
    """Return every limit that an operator may set."""
    usual = {each.name: each.default for each in fields(Config)}
    return rows_of(
        ("limit", "usually", "from", "to", "what it bounds"),
        (
            (
                f"`{name}`",
                *(_number(value, "bytes" in name) for value in (usual[name], *RANGES[name])),
                SETTINGS[name],
            )
            for name in LIMITS
        ),
    )


def _number(value: object, is_size: bool) -> str:
    assert isinstance(value, int)
    for size, unit in ((1_024 * MIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if is_size and value % size == 0:
            return f"{value // size:,} {unit}"
    return f"{value:,}"


def events() -> str:
    """Return every event of the server's log."""
    return rows_of(
        ("event", "level", "what happened"),
        (
            (f"`{event.word}`", logging.getLevelName(event.level).lower(), EVENTS[event])
            for event in Event
        ),
    )


TABLES: Final[dict[str, Callable[[], str]]] = {"settings": settings, "events": events}


def filled(text: str) -> str:
    """Return the page with its tables as the code has them."""
    return with_tables(text, lambda name: TABLES[name]())


@click.command()
def main() -> None:
    """Write every table of docs/operating.md anew."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
