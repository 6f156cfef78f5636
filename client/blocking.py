"""The SDK without asyncio, for notebooks and plain scripts: the same methods, each of which waits.

    with Home(Path("~/.sealroom").expanduser(), lambda: getpass("Passphrase: ")) as home:
        with home.vault("Project Lark") as vault:
            vault.upload("customers.csv", collection="customers")

A `Home` runs one event loop in a thread of its own, so it works where one runs already, as in
Jupyter. Ctrl-C stops the work and waits until it has cleaned up. Callbacks (`on_progress`,
`on_batch`) run in that thread, and may not call back into the home or its vaults; the
passphrase is asked for in the caller's.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

import pyarrow as pa

from client import home as waiting_home
from client import vault as waiting_vault
from client.crypto.identity import Identity
from client.keeper import Connect, https
from client.keyring import Keyring, StoredIdentity
from client.kits import Backup, Kit
from client.results.keys import RotateIdentityResult
from client.results.log import AttestResult
from client.results.people import JoinResult
from client.results.recovery import RescueRequest, RescueResult
from client.results.vaults import IdentityInfo, VaultInfo
from client.trust import MOST_LEAVES
from protocol.acts import DEFAULT_POLICY, Policy
from protocol.errors import ApiMisuse

P = ParamSpec("P")
T = TypeVar("T")

_THREAD_NAME: Final = "sealroom"


class _LoopThread:
    """An event loop in a thread, to which others hand coroutines and wait."""

    def __init__(self) -> None:
        ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        # A daemon, so that a script which forgot to close does not hang at its end.
        self._thread = threading.Thread(
            target=lambda: asyncio.run(_until_told(ready)), name=_THREAD_NAME, daemon=True
        )
        self._thread.start()
        self._loop, self._told = ready.result()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the thread; return what it returns, raise what it raises."""
        if threading.current_thread() is self._thread or self._loop.is_closed():
            work.close()
            raise ApiMisuse("called from within a callback, or after close")
        ended = threading.Event()
        begun: list[asyncio.Task[T]] = []

        def begin() -> None:
            begun.append(self._loop.create_task(work))
            begun[0].add_done_callback(lambda _: ended.set())

        self._loop.call_soon_threadsafe(begin)
        try:
            ended.wait()
        except BaseException:  # Ctrl-C reaches the thread that waits, not the one that works
            self._loop.call_soon_threadsafe(lambda: begun[0].cancel())
            ended.wait()
            raise
        return begun[0].result()

    def close(self) -> None:
        """Stop the loop and whatever runs in it, and wait for the thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._told.set)
        self._thread.join()


async def _until_told(ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    told = asyncio.Event()
    ready.set_result((asyncio.get_running_loop(), told))
    await told.wait()


def _waiting(
    method: Callable[Concatenate[waiting_vault.Vault, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Vault, P], T]:
    """Turn a vault's coroutine method into one that waits, its signature and docs kept."""

    def waits(self: Vault, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._loop.wait(method(self._vault, *args, **kwargs))

    functools.update_wrapper(waits, method)
    return waits


class Vault:
    """One vault, as `client.vault.Vault` has it; every method waits. Use it as a context."""

    def __init__(self, vault: waiting_vault.Vault, loop: _LoopThread) -> None:
        self._vault = vault
        self._loop = loop

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def vault_id(self) -> str:
        """The vault's id, 64 hex digits."""
        return self._vault.vault_id

    @property
    def identity(self) -> Identity:
        """Who this home is in the vault."""
        return self._vault.identity

    @property
    def server(self) -> str:
        """The server's address."""
        return self._vault.server

    close = _waiting(waiting_vault.Vault.close)

    title = _waiting(waiting_vault.Vault.title)
    title_sealed = _waiting(waiting_vault.Vault.title_sealed)
    status = _waiting(waiting_vault.Vault.status)
    members = _waiting(waiting_vault.Vault.members)
    collections = _waiting(waiting_vault.Vault.collections)
    collection = _waiting(waiting_vault.Vault.collection)
    log = _waiting(waiting_vault.Vault.log)

    upload = _waiting(waiting_vault.Vault.upload)
    plan_upload = _waiting(waiting_vault.Vault.plan_upload)
    erase = _waiting(waiting_vault.Vault.erase)
    give_up = _waiting(waiting_vault.Vault.give_up)
    erase_names = _waiting(waiting_vault.Vault.erase_names)
    retire_collection = _waiting(waiting_vault.Vault.retire_collection)
    read = _waiting(waiting_vault.Vault.read)
    export = _waiting(waiting_vault.Vault.export)

    attach = _waiting(waiting_vault.Vault.attach)
    documents = _waiting(waiting_vault.Vault.documents)
    get_document = _waiting(waiting_vault.Vault.get_document)
    get_documents = _waiting(waiting_vault.Vault.get_documents)
    remove_document = _waiting(waiting_vault.Vault.remove_document)

    def stream(
        self,
        collection: str,
        *,
        fields: Sequence[str] | None = None,
        limit: int | None = None,
        numbers: bool = False,
        where: Sequence[str] = (),
    ) -> Generator[pa.RecordBatch, None, None]:
        """Yield verified records batch by batch, in bounded memory; options as in `read`."""
        batches = self._vault.stream(
            collection, fields=fields, limit=limit, numbers=numbers, where=where
        )
        try:
            while (batch := self._loop.wait(_following(batches))) is not None:
                yield batch
        finally:
            self._loop.wait(batches.aclose())

    invite = _waiting(waiting_vault.Vault.invite)
    confirm = _waiting(waiting_vault.Vault.confirm)
    persons = _waiting(waiting_vault.Vault.persons)
    words = _waiting(waiting_vault.Vault.words)
    grant = _waiting(waiting_vault.Vault.grant)
    withdraw_grant = _waiting(waiting_vault.Vault.withdraw_grant)
    withdraw_invite = _waiting(waiting_vault.Vault.withdraw_invite)
    change_role = _waiting(waiting_vault.Vault.change_role)
    revoke = _waiting(waiting_vault.Vault.revoke)
    plan_revocation = _waiting(waiting_vault.Vault.plan_revocation)

    rotate = _waiting(waiting_vault.Vault.rotate)
    plan_rotation = _waiting(waiting_vault.Vault.plan_rotation)
    new_keys = _waiting(waiting_vault.Vault.new_keys)
    freeze = _waiting(waiting_vault.Vault.freeze)
    unfreeze = _waiting(waiting_vault.Vault.unfreeze)
    destroy = _waiting(waiting_vault.Vault.destroy)
    heartbeat = _waiting(waiting_vault.Vault.heartbeat)
    policy = _waiting(waiting_vault.Vault.policy)
    change_policy = _waiting(waiting_vault.Vault.change_policy)

    offer = _waiting(waiting_vault.Vault.offer)
    accept = _waiting(waiting_vault.Vault.accept)
    reject = _waiting(waiting_vault.Vault.reject)
    takeover = _waiting(waiting_vault.Vault.takeover)

    set_up_recovery = _waiting(waiting_vault.Vault.set_up_recovery)
    custodian_words = _waiting(waiting_vault.Vault.custodian_words)
    end_recovery = _waiting(waiting_vault.Vault.end_recovery)
    recovery_status = _waiting(waiting_vault.Vault.recovery_status)
    release_share = _waiting(waiting_vault.Vault.release_share)
    request_words = _waiting(waiting_vault.Vault.request_words)


async def _following(batches: Any) -> Any:
    return await anext(batches, None)


class Home:
    """A home, as `client.home.Home` has it; every method waits. Use it as a context."""

    def __init__(
        self,
        directory: Path,
        passphrase: Callable[[], str],
        *,
        connect: Connect = https,
        clock: Callable[[], float] = time.time,
        most_leaves: int = MOST_LEAVES,
    ) -> None:
        self._asked = functools.cache(passphrase)
        self._home = waiting_home.Home(
            directory, self._asked, connect=connect, clock=clock, most_leaves=most_leaves
        )
        self._opened: list[Vault] = []
        self._loop = _LoopThread()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every vault that this home opened, and stop its thread. Twice does no harm."""
        while self._opened:
            self._opened.pop().close()
        self._loop.close()

    @property
    def directory(self) -> Path:
        """The folder of this home."""
        return self._home.directory

    @property
    def keyring_path(self) -> Path:
        """Where the keyring file is."""
        return self._home.keyring_path

    @property
    def keyring(self) -> Keyring:
        """The keyring, opened on first use; raises as `Keyring.load`."""
        return self._home.keyring

    def create_keyring(self) -> None:
        """Make an empty keyring; raises as `Keyring.create`."""
        self._home.create_keyring()

    def identities(self) -> tuple[IdentityInfo, ...]:
        """List the identities of this home, each with the vault that it serves in."""
        return self._home.identities()

    def new_identity(self, name: str | None = None) -> StoredIdentity:
        """Make an identity in this home; see `client.home.Home.new_identity`."""
        return self._home.new_identity(name)

    def vaults(self) -> tuple[VaultInfo, ...]:
        """List the vaults of this home; nothing is asked of any server."""
        return self._home.vaults()

    def vault(self, reference: str | None = None) -> Vault:
        """Open a vault by title, id or prefix of its id; see `client.home.Home.vault`."""

        async def opened() -> waiting_vault.Vault:
            return self._home.vault(reference)

        self._ask()
        return self._kept(self._loop.wait(opened()))

    def move_vault(
        self, url: str, *, pin: bytes | None = None, vault: str | None = None
    ) -> VaultInfo:
        """Go to another address for a vault; see `client.home.Home.move_vault`."""
        self._ask()
        return self._loop.wait(self._home.move_vault(url, pin=pin, vault=vault))

    def create_vault(
        self,
        url: str,
        *,
        title: str,
        name: str = "owner",
        pin: bytes | None = None,
        token: str = "",
        identity: str | None = None,
        policy: Policy = DEFAULT_POLICY,
    ) -> Vault:
        """Create a vault and become its owner; see `client.home.Home.create_vault`."""
        self._ask()
        created = self._home.create_vault(
            url, title=title, name=name, pin=pin, token=token, identity=identity, policy=policy
        )
        return self._kept(self._loop.wait(created))

    def join(
        self,
        link: str,
        *,
        words: str | None = None,
        yes: bool = False,
        identity: str | None = None,
    ) -> tuple[Vault, JoinResult]:
        """Join a vault with an invite link; see `client.home.Home.join`."""
        self._ask()
        joined = self._home.join(link, words=words, yes=yes, identity=identity)
        vault, result = self._loop.wait(joined)
        return self._kept(vault), result

    # --- identities that come and go

    def rotate_identity(
        self, vault: Vault, *, leave_false_keys: bool = False
    ) -> RotateIdentityResult:
        """Move this member to new keys; see `client.home.Home.rotate_identity`."""
        work = self._home.rotate_identity(vault._vault, leave_false_keys=leave_false_keys)
        return self._loop.wait(work)

    def kit(self, vault: Vault) -> Kit:
        """Return the recovery kit of the identity that serves in a vault: its seed, in clear."""
        return self._home.kit(vault._vault)

    def backup(self, vault: Vault, path: Path) -> Backup:
        """Write the kit's page, to be printed; see `client.home.Home.backup`."""
        return self._loop.wait(self._home.backup(vault._vault, path))

    def restore(self, kit: Kit, *, server: str | None = None, pin: bytes | None = None) -> Vault:
        """Bring an identity back from its kit; see `client.home.Home.restore`."""
        self._ask()
        return self._kept(self._loop.wait(self._home.restore(kit, server=server, pin=pin)))

    def attest_destroyed(self, vault: Vault) -> AttestResult:
        """Destroy this home's keys of a vault; see `client.home.Home.attest_destroyed`."""
        return self._loop.wait(self._home.attest_destroyed(vault._vault))

    def rescue_request(self, url: str, vault_id: bytes, pin: bytes | None) -> RescueRequest:
        """Make the request that custodians answer; see `client.home.Home.rescue_request`."""
        return self._home.rescue_request(url, vault_id, pin)

    def rescue_words(self, vault_id: bytes, custodian: bytes) -> str:
        """Return the words to read to a custodian, whose id it tells."""
        return self._home.rescue_words(vault_id, custodian)

    def rebuild(self, reference: str | None = None) -> tuple[Vault, RescueResult]:
        """Be the owner again by custodians' shares; see `client.home.Home.rebuild`."""
        self._ask()
        vault, result = self._loop.wait(self._home.rebuild(reference))
        return self._kept(vault), result

    def _ask(self) -> None:
        """Ask for the passphrase in the thread that a notebook or terminal can ask in."""
        if self.keyring_path.exists():
            _ = self.keyring
        else:
            self._asked()

    def _kept(self, vault: waiting_vault.Vault) -> Vault:
        self._opened.append(Vault(vault, self._loop))
        return self._opened[-1]
