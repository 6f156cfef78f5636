"""What every part of a vault's face has: its session, and how things are found by name."""

from __future__ import annotations

from typing import Final, Self

from client.catalogs import expect_all, read_names
from client.crypto.identity import Identity
from client.errors import InputError
from client.journals import name_tag
from client.likely import likely
from client.session import Session
from protocol.acts import Role
from protocol.blocks import PEOPLE_COLLECTION
from protocol.ledger.contents import Collection

PREFIX_LEAST: Final = 6


class Face:
    """One vault, as one of its members sees it. Use it as an async context."""

    def __init__(self, session: Session, *, server: str, pin: bytes | None, title: str) -> None:
        self.session = session
        self.server = server
        self.pin = pin
        self._title = title

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the server and of this home's files."""
        await self.session.transport.close()
        self.session.store.close()

    @property
    def vault_id(self) -> str:
        """The vault's id, 64 hex digits."""
        return self.session.vault_id.hex()

    @property
    def identity(self) -> Identity:
        """Who this home is in the vault."""
        return self.session.identity

    def _begun(self) -> set[tuple[bytes, str]]:
        """Return where the uploads go that this home has not finished, and what stands for it."""
        return {(each.collection, each.name) for each in self.session.store.uploads.unfinished()}

    async def _find_collection(self, text: str) -> Collection:
        known = [c for c in self.session.state.collections.values() if c.id != PEOPLE_COLLECTION]
        # Names are given by people: one that is another's id, or begins like it, must not win.
        read = {c.id: await read_names(self.session, c.id) for c in known}
        names = {each: its.name for each, its in read.items()}
        found = [c for c in known if c.id.hex() == text]
        if not found:
            expect_all(next((its.missing for its in read.values() if its.missing), None))
            found = [
                c
                for c in known
                if names[c.id] == text
                or (len(text) >= PREFIX_LEAST and c.id.hex().startswith(text))
            ]
        # One that nothing is visible of has its name in this home's journal alone.
        found = found or [c for c in known if (c.id, name_tag(c.id, text)) in self._begun()]
        if len(found) != 1:
            how, among = "no collection" if not found else "several collections fit", ""
            hint = "'sealroom collection list' shows them."
            if found:
                hint += f" Say which by its id, of {', '.join(each.id.hex() for each in found)}."
            closed = sum(names[c.id] is None and bool(c.batches) for c in known)
            if not found and closed:
                among = " among those whose names you may know"
                hint = f"The names of {closed} are closed to you, {self._why_closed()}. "
                hint += "'sealroom collection list' shows their ids."
            if not found:
                hint = likely(text, filter(None, names.values()), hint)
            raise InputError(f"{how} {text!r}{among}", hint=hint)
        return found[0]

    def _why_closed(self) -> str:
        me = self.session.state.members[self.identity.member_id]
        if me.role is Role.AUDITOR:
            return "as to every auditor"
        return "as what you were not granted is"
