"""Is this installation in order? Versions, engines, keyring, clock and servers, looked at once.

A check is a function from what is looked at to findings; `CHECKS` lists them all. None of them
changes anything, and none raises: what is wrong is a finding.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib
import importlib.util
import os
import platform
import sqlite3
import ssl
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from cryptography.hazmat.backends.openssl import backend

from client.crypto.engines import VARIABLE, default_engine, survey
from client.crypto.identity import Identity
from client.errors import InputError, Refused
from client.home import Home
from client.keyring import VaultEntry
from client.places import known_vaults, store_path
from client.session import in_days
from client.speed import EngineSpeed, engine_speeds
from client.store import VaultStore
from client.transport import Signer, Transport
from client.trust import Believed
from protocol.acts import VERSION
from protocol.errors import Fork, NotFound, Rollback, SealroomError, VerificationFailed
from protocol.limits import LIMITS

ASK_OPERATOR: Final = "Keep this home as it is, and ask who runs the server."


class State(Enum):
    """How a finding is to be taken."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `hint` says what to do about it."""

    about: str
    state: State
    told: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All of it. `versions` are by name, in the order in which people ask for them."""

    versions: dict[str, str]
    engines: tuple[EngineSpeed, ...]
    findings: tuple[Finding, ...]

    @property
    def in_order(self) -> bool:
        """Whether nothing is a problem."""
        return all(each.state is not State.PROBLEM for each in self.findings)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked at: a home, and why its keyring stays shut if it does."""

    home: Home
    shut: str | None = None
    """Told instead of what is in the keyring; None where it may be opened."""


Check = Callable[[Subject], Awaitable[list[Finding]]]


async def diagnose(subject: Subject) -> Diagnosis:
    """Look at everything once; measuring the engines takes about a second."""
    findings = [found for check in CHECKS for found in await check(subject)]
    return Diagnosis(versions(), engine_speeds(), tuple(findings))


# --- versions


def versions() -> dict[str, str]:
    """Return the versions of what Sealroom's speed and safety hang on."""
    return {
        "sealroom": _installed("sealroom"),
        "protocol": str(VERSION),
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "cryptography": _installed("cryptography"),
        "OpenSSL in it": backend.openssl_version_text(),
        "PyNaCl": _installed("PyNaCl"),
        "libsodium in it": _libsodium_version(),
        "OpenSSL for TLS": ssl.OPENSSL_VERSION,
        "SQLite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "from source"


def _libsodium_version() -> str:
    try:
        library = ctypes.CDLL(importlib.import_module("nacl._sodium").__file__)
        library.sodium_version_string.restype = ctypes.c_char_p
        told: bytes = library.sodium_version_string()
    except (ImportError, OSError, AttributeError):
        return "not shown by this PyNaCl"
    return told.decode("ascii", "replace")


# --- checks


async def check_engine(_: Subject) -> list[Finding]:
    """Which engine seals and opens, and why that one."""
    try:
        name = default_engine().name
    except InputError as error:
        return [Finding("engine", State.PROBLEM, str(error), error.hint)]
    if os.environ.get(VARIABLE):
        return [Finding("engine", State.NOTE, f"{name}, because {VARIABLE} names it")]
    faster = [each for each in survey() if each.engine is None]
    if not faster:
        return [Finding("engine", State.OK, f"{name}, the fastest there is")]
    why = "; ".join(f"{each.name}: {each.why_absent}" for each in faster)
    hint = None
    if name != "compiled":
        hint = "With a C compiler and Python's headers, install Sealroom again."
    return [Finding("engine", State.NOTE, f"{name}, the fastest of this machine ({why})", hint)]


async def check_keyring(subject: Subject) -> list[Finding]:
    """Whether the keyring is there, and out of the reach of others."""
    path = subject.home.keyring_path
    if not path.exists():
        told = f"there is none at {path}"
        return [Finding("keyring", State.NOTE, told, "'vault create' or 'join' makes one.")]
    exposed = [found for each in (path.parent, path) if (found := _exposed(each))]
    if exposed:
        return exposed
    if subject.shut is not None:
        return [Finding("keyring", State.NOTE, f"{path}, not opened: {subject.shut}")]
    try:
        keyring = subject.home.keyring
    except SealroomError as error:
        return [Finding("keyring", State.PROBLEM, str(error), error.hint)]
    held = f"{len(keyring.identities)} identities, {len(keyring.vaults)} vaults"
    return [Finding("keyring", State.OK, f"{path}, for you alone; {held}")]


def _exposed(path: Path) -> Finding | None:
    """Return what is wrong with who may use a path, if anything is."""
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != os.getuid():
        return Finding("keyring", State.PROBLEM, f"{path} belongs to another user")
    # Who may write into the folder may put another keyring there; reading its names is harmless.
    forbidden, wanted = (0o022, "700") if path.is_dir() else (0o077, "600")
    if mode & forbidden:
        told = f"others on this machine may get at {path} (mode {mode:03o})"
        return Finding("keyring", State.PROBLEM, told, f"chmod {wanted} {path}")
    return None


async def check_servers(subject: Subject) -> list[Finding]:
    """Whether each server of this home is the pinned one, and goes on with its vaults' logs."""
    if subject.shut is not None or not subject.home.keyring_path.exists():
        return []
    try:
        entries = subject.home.keyring.vaults
    except SealroomError:  # told by `check_keyring`
        return []
    places: dict[tuple[str, bytes], list[VaultEntry]] = {}
    for entry in sorted(entries, key=lambda each: each.vault_id):
        places.setdefault((entry.server, entry.tls_pin or b""), []).append(entry)
    found: list[Finding] = []
    for (url, pin), there in sorted(places.items(), key=lambda each: each[0]):
        told = await _asked(subject.home, url, pin or None)
        found += told
        if told[0].state is State.OK:
            for each in filter(_joined, there):
                found += await _shown(subject.home, each)
    return found


async def _asked(home: Home, url: str, pin: bytes | None) -> list[Finding]:
    nobody = Identity.generate()
    transport = home.connect(url, pin, Signer(nobody.request_key, nobody.member_id))
    try:
        info = await transport.server_info()
    except SealroomError as error:
        return [Finding(f"server {url}", State.PROBLEM, str(error), error.hint)]
    finally:
        await transport.close()
    whose = "with the pinned key" if pin else "with a certificate that this machine trusts"
    answers = Finding(f"server {url}", State.OK, f"answers, {whose}")
    apart = int(home.clock()) - info.time
    if abs(apart) <= LIMITS.request_skew_seconds:
        told = f"within {LIMITS.request_skew_seconds} s of {url}"
        return [answers, Finding("clock", State.OK, told)]
    where = "ahead of" if apart > 0 else "behind"
    return [
        answers,
        Finding(
            "clock",
            State.PROBLEM,
            f"{abs(apart):,} s {where} {url}, which refuses requests more than "
            f"{LIMITS.request_skew_seconds} s away",
            "Set this machine's clock, or tell whoever runs the server.",
        ),
    ]


def _joined(entry: VaultEntry) -> bool:
    return entry.invite is None and not entry.rescuing


async def _shown(home: Home, entry: VaultEntry) -> list[Finding]:
    """Whether a server shows a vault's log as one that continues what this home knows of it."""
    about = f"vault {entry.vault_id.hex()[:16]}"
    stored = home.keyring.identity(entry.identity)
    assert stored is not None  # a keyring's vaults name identities that are in it
    identity = Identity(stored.seed)
    signer = Signer(identity.request_key, identity.member_id)
    with contextlib.ExitStack() as stack:
        try:
            store = stack.enter_context(_known(home, entry.vault_id))
            believed = Believed(entry.vault_id, store, identity, most_leaves=home.most_leaves)
        except (SealroomError, sqlite3.Error, OSError):  # told by `check_logs`
            return []
        transport = home.connect(entry.server, entry.tls_pin, signer)
        try:
            told = await _compared(home, believed, identity, transport)
        except SealroomError as error:
            return [_untrue(about, error)]
        finally:
            await transport.close()
    return [Finding(about, State.OK, told)]


def _known(home: Home, vault_id: bytes) -> VaultStore:
    """Open what a home has of a vault's log; nothing is made where it has none."""
    path = store_path(home.directory, vault_id)
    return VaultStore(path if path.exists() else None)


async def _compared(
    home: Home, believed: Believed, identity: Identity, transport: Transport
) -> str:
    """Compare a server's log with what this home knows, or read it whole where that is nothing.

    Raises:
        SealroomError: as `Believed.look` and `Believed.sync`; nothing is kept in any case.
    """
    if believed.known:
        shown = await believed.look(transport, home.clock())
        new, age = shown.size - believed.pin.size, max(0, int(home.clock()) - shown.time)
        return (
            f"its server goes on with the log that this home knows; new leaves: {new:,}; "
            f"signed {age:,} s ago"
        )
    with VaultStore(None) as memory:
        read = Believed(believed.vault_id, memory, identity, most_leaves=home.most_leaves)
        await read.sync(transport, home.clock(), identity.member_id)
    return f"its server's log is whole, {read.ledger.size:,} leaves; this home had none of it"


def _untrue(about: str, error: SealroomError) -> Finding:
    """Say in words what is wrong with a vault on its server."""
    match error:
        case Rollback():
            told = f"ROLLED BACK: {error}"
        case Fork():
            told = f"ANOTHER HISTORY: {error}. 'sealroom vault status' prints both checkpoints"
        case Refused(refusal=NotFound.code):
            told = "its server has no such vault for this identity's key"
        case Refused():
            told = f"refused with code {error.refusal}: {error}"
        case VerificationFailed():
            told = f"NOT TRUE: {error}"
        case _:
            told = str(error)
    return Finding(about, State.PROBLEM, told, error.hint or ASK_OPERATOR)


async def check_clock(subject: Subject) -> list[Finding]:
    """Whether this machine's clock is before something that this home has seen already."""
    if subject.shut is not None or not subject.home.keyring_path.exists():
        return []
    try:
        made = [each.created for each in subject.home.keyring.identities]
    except SealroomError:  # told by `check_keyring`
        return []
    if made and subject.home.clock() < max(made):
        told = "it is earlier than when the newest identity of this home was made"
        return [Finding("clock", State.PROBLEM, told, "Set this machine's clock.")]
    return []


async def check_logs(subject: Subject) -> list[Finding]:
    """Whether what this home keeps of each vault's log is whole; no passphrase opens it."""
    home = subject.home
    known = known_vaults(home.directory)
    return [await asyncio.to_thread(_log_kept, home, each) for each in known]


def _log_kept(home: Home, vault_id: str) -> Finding:
    about = f"log of {vault_id[:16]}"
    try:
        with VaultStore(store_path(home.directory, bytes.fromhex(vault_id))) as store:
            believed = Believed(bytes.fromhex(vault_id), store)  # which replays it
            if not believed.known:
                return Finding(about, State.NOTE, "nothing of it was fetched yet")
            ago = in_days(max(0, int(home.clock()) - believed.pin.time))
    except SealroomError as error:
        return Finding(about, State.PROBLEM, str(error), error.hint)
    except (sqlite3.Error, OSError) as error:
        hint = "Is the disk full, or another sealroom at work in this home?"
        return Finding(about, State.PROBLEM, f"it cannot be read: {error}", hint)
    return Finding(about, State.OK, f"{believed.ledger.size:,} leaves verified, seen {ago} ago")


OPTIONAL: Final = (
    ("xlrd", "Excel's older files (.xls)", "excel"),
    ("sqlalchemy", "databases by their address", "sql"),
    ("psycopg", "PostgreSQL", "sql"),
)
"""Modules that are not always installed, what takes them, and the extra that brings them."""


async def check_tables(_: Subject) -> list[Finding]:
    """Which kinds of tables cannot be read here."""
    absent = [each for each in OPTIONAL if importlib.util.find_spec(each[0]) is None]
    if not absent:
        return [Finding("tables", State.OK, "all kinds can be read")]
    return [
        Finding("tables", State.NOTE, f"{what} cannot be read", f"pip install 'sealroom[{extra}]'")
        for _, what, extra in absent
    ]


CHECKS: Final[tuple[Check, ...]] = (
    check_engine,
    check_tables,
    check_keyring,
    check_logs,
    check_clock,
    check_servers,
)
