"""A running server: what it is made of, the order in which it starts, and how it stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from math import floor
from typing import Final

from protocol.limits import LIMITS
from vault.auth import ReplayGuard
from vault.config import Config
from vault.door import Door
from vault.horizon import read_horizon, write_horizon
from vault.listener import Listener
from vault.logs import Event, log_event, log_failure
from vault.service import VaultService
from vault.starting import expect_own_directory, expect_own_vaults
from vault.storage.base import StillRead, StorageDamaged
from vault.storage.sqlite import SqliteStorage
from vault.tls import (
    CreateToken,
    load_or_create,
    load_or_create_checkpoint_key,
    load_or_create_token,
)

EXPIRY_PERIOD_SECONDS: Final = 3_600
SWEEP_PAUSE_SECONDS: Final = 5
READ_DELAY_SECONDS: Final = 300
"""Until the store is read through for the first time: at its start a server has more to do."""
READ_PERIOD_SECONDS: Final = 24 * 3_600


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that accepts connections; `pin` is the 32 bytes by which clients know it."""

    url: str
    pin: bytes
    token: CreateToken
    service: VaultService


@asynccontextmanager
async def running(
    config: Config, clock: Callable[[], float] = time.time
) -> AsyncIterator[RunningServer]:
    """Run a server until the block ends; then stop it as `Listener.stop` says.

    Started in this order, and stopped in the reverse: the store (whose lock keeps other servers
    out of the directory), the keys, the service, the listener. At the end requests under way
    are finished, within the configuration's time, and the store is closed.

    Raises:
        ListenFailed: the address is taken, or not this machine's.
        StorageFailed, InvalidConfig, Unsupported: the directory or a file cannot be used.
    """
    async with AsyncExitStack() as stack:
        expect_own_directory(config.data_dir)
        storage = await stack.enter_async_context(await SqliteStorage.open(config.data_dir))
        stack.callback(log_event, Event.SERVER_STOPPED)
        vaults = await storage.vault_ids()
        key = load_or_create_checkpoint_key(config.data_dir, needed=bool(vaults))
        await expect_own_vaults(storage, key)
        tls = load_or_create(
            config.data_dir,
            config.cert_file,
            config.key_file,
            config.hosts,
            needed=bool(vaults) and not config.new_tls_key,
        )
        token = load_or_create_token(config.data_dir)
        guard = await _replay_guard(config, clock, used=bool(vaults))
        service = VaultService(storage, key, token, config, clock)
        await service.start()
        stack.push_async_callback(service.close)
        for work in (
            service.warm,
            partial(_expire_for_ever, service),
            partial(_sweep_for_ever, service),
            partial(_read_for_ever, service),
        ):
            stack.push_async_callback(_cancelled, asyncio.create_task(work()))
        listener = Listener(Door(service, config, guard, clock), config)
        port = await listener.start(tls)
        stack.push_async_callback(listener.stop)
        log_event(Event.SERVER_STARTED, port=port)
        yield RunningServer(_url(config.host, port), tls.pin, token, service)


async def _replay_guard(config: Config, clock: Callable[[], float], *, used: bool) -> ReplayGuard:
    """Return a guard that refuses whatever an earlier process here may have accepted."""
    started = clock() if used else 0.0
    if started:
        # Nothing that was signed in this second is accepted; nobody should have to know.
        await asyncio.sleep(1 - started % 1)
    return ReplayGuard(
        LIMITS.request_skew_seconds,
        floor(started),
        horizon=read_horizon(config.data_dir),
        keep_horizon=partial(write_horizon, config.data_dir),
    )


async def _expire_for_ever(service: VaultService) -> None:
    while True:
        try:
            await service.expire_staged()
        except Exception as error:
            log_failure(error)
        await asyncio.sleep(EXPIRY_PERIOD_SECONDS)


async def _sweep_for_ever(service: VaultService) -> None:
    while True:
        try:
            await service.sweep()
        except StillRead:
            log_event(Event.SWEEP_WAITS)
            await asyncio.sleep(SWEEP_PAUSE_SECONDS)
        except StorageDamaged as error:
            log_failure(error)
            await asyncio.sleep(EXPIRY_PERIOD_SECONDS)
        except Exception as error:
            log_failure(error)
            await asyncio.sleep(SWEEP_PAUSE_SECONDS)


async def _read_for_ever(service: VaultService) -> None:
    await asyncio.sleep(READ_DELAY_SECONDS)
    while True:
        try:
            await service.read_through()
        except Exception as error:
            log_failure(error)
        await asyncio.sleep(READ_PERIOD_SECONDS)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _url(host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"https://{shown}:{port}" if port != 443 else f"https://{shown}"
