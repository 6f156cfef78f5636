"""The real service behind the client's transport seam, without TLS: fast, and able to lie.

`ServiceTransport` answers as the honest server does. Attack tests subclass it and change one
answer at a time; `connect` of a `Home` is where it goes in.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from client.errors import Refused, Unreachable
from client.home import Home
from client.refusals import refused
from client.transport import Signer, Transport
from protocol import api
from protocol.api import ErrorBody
from protocol.errors import SealroomError
from vault.config import Config
from vault.service import VaultService
from vault.storage.sqlite import SqliteStorage
from vault.tls import load_or_create_checkpoint_key, load_or_create_token

T = TypeVar("T")
URL = "https://localhost:8443"
PASSPHRASE = "correct horse battery staple"


class ServiceTransport:
    """One member's connection to a service in this process."""

    def __init__(self, service: VaultService, signer: Signer) -> None:
        self.service = service
        self.keyid = signer.keyid

    async def _answer(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except SealroomError as error:
            raise _refused(error) from error

    async def server_info(self) -> api.ServerInfo:
        return self.service.info()

    async def create_vault(self, request: api.CreateVault) -> api.Submitted:
        return await self._answer(self.service.create_vault(self.keyid, request))

    async def log_page(self, vault_id: bytes, start: int) -> api.LogPage:
        return await self._answer(self.service.log_page(vault_id, self.keyid, start))

    async def consistency(self, vault_id: bytes, old: int, new: int) -> tuple[bytes, ...]:
        proof = await self._answer(self.service.consistency(vault_id, self.keyid, old, new))
        return proof.hashes

    async def submit(self, vault_id: bytes, act: api.SubmitAct) -> api.Submitted:
        return await self._answer(self.service.submit(vault_id, self.keyid, act))

    async def observations(self, vault_id: bytes, start: int) -> api.ObservationsPage:
        return await self._answer(self.service.observations(vault_id, self.keyid, start))

    async def staged(self, vault_id: bytes, upload: bytes) -> api.Staged:
        return await self._answer(self.service.staged(vault_id, self.keyid, upload))

    async def stage(self, vault_id: bytes, upload: bytes, batch: bytes, body: bytes) -> None:
        await self._answer(self.service.stage(vault_id, self.keyid, upload, batch, body))

    async def stage_several(self, vault_id: bytes, upload: bytes, bodies: Sequence[bytes]) -> None:
        await self._answer(self.service.stage_several(vault_id, self.keyid, upload, bodies))

    async def fetch(
        self, vault_id: bytes, request: api.FetchBlocks, sizes: tuple[int, ...]
    ) -> AsyncGenerator[bytes, None]:
        _, pieces = await self._answer(
            self.service.fetch(vault_id, self.keyid, os.urandom(32), request)
        )
        sent = 0
        async with aclosing(pieces):
            try:
                async for piece in pieces:
                    if sent % 2:  # its length goes before each block
                        yield piece
                    sent += 1
            except SealroomError as error:
                if sent:
                    raise Unreachable("the answer was cut off") from error
                raise _refused(error) from error

    async def close(self) -> None:
        """Nothing to let go of."""


def _refused(error: SealroomError) -> Refused:
    return refused(ErrorBody(error.code, str(error), error.hint, 0), 0)


class Lab:
    """A service on a store of its own, and homes that talk to it."""

    def __init__(self, service: VaultService, directory: Path, token: str) -> None:
        self.service = service
        self.directory = directory
        self.token = token
        self.wrap: Callable[[ServiceTransport], Transport] = lambda honest: honest

    def home(
        self,
        name: str,
        wrap: Callable[[ServiceTransport], Transport] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Home:
        """Return a home; `wrap` is what its own answers go through, in place of everybody's."""

        def connect(url: str, pin: bytes | None, signer: Signer) -> Transport:
            return (wrap or self.wrap)(ServiceTransport(self.service, signer))

        return Home(self.directory / name, lambda: PASSPHRASE, connect=connect, clock=clock)


@asynccontextmanager
async def lab(directory: Path, clock: Callable[[], float] = time.time) -> AsyncIterator[Lab]:
    data = directory / "server"
    storage = await SqliteStorage.open(data)
    token = load_or_create_token(data)
    config = Config(data_dir=data)
    service = VaultService(storage, load_or_create_checkpoint_key(data), token, config, clock)
    await service.start()
    try:
        yield Lab(service, directory, token.reveal())
    finally:
        await service.close()
        await storage.close()
