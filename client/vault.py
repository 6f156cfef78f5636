"""The SDK's face: one vault, and what a member does in it.

Every method is a coroutine that syncs first, so that it works on the newest verified state,
and returns plain typed results (`client.results`). `client.blocking` has the same for
notebooks and scripts without asyncio.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pyarrow as pa

from client import handover, membership
from client.catalogs import read_names, read_people
from client.crypto.identity import Identity
from client.errors import InputError
from client.exporting import export
from client.filtering import select_matching
from client.ledger_words import log_entries
from client.links import Link
from client.reading import select_fields
from client.results import (
    AcceptResult,
    ActResult,
    CollectionInfo,
    FieldInfo,
    InviteResult,
    LogResult,
    MemberInfo,
    OfferInfo,
    OfferResult,
    OnProgress,
    ReadResult,
    RevokeResult,
    RotateResult,
    UploadResult,
    VaultStatus,
    no_progress,
)
from client.session import Session, saying
from client.tables import ReadOptions, WriteOptions, open_source
from client.tables import schema_of as arrow_schema
from client.tables.options import AS_IT_CAME, NOTHING_SAID
from client.uploads import plan_upload, upload
from protocol import acts
from protocol.acts import Reason, Role
from protocol.blocks import PEOPLE_COLLECTION, FieldClass
from protocol.ledger.state import Collection, InviteState
from protocol.limits import LIMITS

DAY: Final = 86_400
DEFAULT_DAYS: Final = 14
PREFIX_LEAST: Final = 6
DATA_CLASSES: Final = (FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE)


def field_class(text: str) -> FieldClass:
    """Parse the name of a class that fields can have.

    Raises:
        InputError: no such class.
    """
    by_name = {each.name.lower(): each for each in DATA_CLASSES}
    if text not in by_name:
        raise InputError(f"no class {text!r}", hint="Classes are general, sensitive and core.")
    return by_name[text]


@dataclass(frozen=True, slots=True)
class UploadOptions:
    """How a table is read and cut."""

    read: ReadOptions = NOTHING_SAID
    batch_rows: int = LIMITS.batch_records_default


class Vault:
    """One vault, as one of its members sees it. Use it as an async context."""

    def __init__(self, session: Session, *, server: str, pin: bytes | None, title: str) -> None:
        self.session = session
        self.server = server
        self.pin = pin
        self._title = title

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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

    # --- looking

    async def title(self) -> str:
        """Return the title as the catalogs have it."""
        people = await read_people(self.session)
        if people.title:
            return people.title
        for collection in self.session.state.collections:
            names = await read_names(self.session, collection)
            if names.title:
                return names.title
        return self._title

    async def status(self) -> VaultStatus:
        """Sync, and say how the vault stands."""
        await self.session.sync()
        state, pin = self.session.state, self.session.believed.pin
        me = state.members[self.identity.member_id]
        return VaultStatus(
            vault_id=self.vault_id,
            title=await self.title(),
            server=self.server,
            me=me.id.hex(),
            role=me.role.value,
            status=me.status.value,
            leaves=state.size,
            root=pin.root.hex(),
            checkpoint_age=max(0, int(self.session.clock()) - pin.time),
            members=sum(member.live for member in state.members.values()),
            open_invites=sum(invite.live for invite in state.invites.values()),
            collections=len(state.collections) - 1,
            records=sum(each.records for each in state.collections.values()),
            offer=await self._offer(),
            tainted_fields=sum(known[-1].tainted for known in state.epochs.values()),
        )

    async def _offer(self) -> OfferInfo | None:
        opened = self.session.state.offer
        if opened is None:
            return None
        members = {m.member_id: m for m in await membership.list_members(self.session)}
        buyer = members[opened.buyer.hex()]
        mine = opened.buyer == self.identity.member_id
        return OfferInfo(opened.index, buyer.member_id, buyer.name or "", opened.expiry, mine)

    async def members(self) -> tuple[MemberInfo, ...]:
        """List members and open invites."""
        await self.session.sync()
        return await membership.list_members(self.session)

    async def collections(self) -> tuple[CollectionInfo, ...]:
        """List the collections, with the names that this member may know."""
        await self.session.sync_as_member()
        return tuple(
            [
                await self._collection(each)
                for each in self.session.state.collections.values()
                if each.id != PEOPLE_COLLECTION
            ]
        )

    async def collection(self, name: str) -> CollectionInfo:
        """Describe one collection, by name, id or prefix of its id."""
        await self.session.sync_as_member()
        return await self._collection(await self._find_collection(name))

    async def _collection(self, where: Collection) -> CollectionInfo:
        names = await read_names(self.session, where.id)
        data = [batch.manifest for batch in where.batches if not batch.manifest.is_catalog]
        fields = []
        for number, its_class in enumerate(where.classes):
            named = names.fields.get(number)
            epochs = self.session.state.epochs.get((where.id, number), ())
            fields.append(
                FieldInfo(
                    number=number,
                    name=named.name if named else None,
                    type=named.type if named else None,
                    field_class=its_class.name.lower(),
                    readable=self.session.may_open(where.id, number),
                    epochs=len(epochs),
                    tainted=bool(epochs) and epochs[-1].tainted,
                )
            )
        return CollectionInfo(
            collection_id=where.id.hex(),
            name=names.name,
            file=names.file,
            records=where.records,
            batches=len(data),
            stored_bytes=sum(ref.length for manifest in data for ref in manifest.blocks),
            root=where.root().hex(),
            fields=tuple(fields),
        )

    async def _find_collection(self, text: str) -> Collection:
        known = [c for c in self.session.state.collections.values() if c.id != PEOPLE_COLLECTION]
        # Names are given by people: one that is another's id, or begins like it, must not win.
        found = [c for c in known if c.id.hex() == text] or [
            c
            for c in known
            if (await read_names(self.session, c.id)).name == text
            or (len(text) >= PREFIX_LEAST and c.id.hex().startswith(text))
        ]
        if len(found) != 1:
            how = "no collection" if not found else "several collections fit"
            raise InputError(f"{how} {text!r}", hint="'sealroom collection list' shows them.")
        return found[0]

    async def log(self, *, verify: bool = False) -> LogResult:
        """Return the log in words; with `verify`, replay it from the genesis once more."""
        await self.session.sync()
        believed = self.session.believed
        verified = believed.verify_again() if verify else 0
        return LogResult(
            vault_id=self.vault_id,
            size=believed.ledger.size,
            root=believed.pin.root.hex(),
            checkpoint=believed.pin.note().decode(),
            checkpoint_age=max(0, int(self.session.clock()) - believed.pin.time),
            verified=verified,
            entries=await log_entries(self.session),
        )

    # --- data

    async def upload(
        self,
        table: str | os.PathLike[str] | object,
        *,
        collection: str,
        classes: Mapping[str, FieldClass] | None = None,
        default: FieldClass = FieldClass.SENSITIVE,
        options: UploadOptions | None = None,
        on_progress: OnProgress = no_progress,
    ) -> UploadResult:
        """Seal a table field by field and commit it as a new collection; safe to repeat.

        `table` is a file's path, a database's address, an object with an Arrow stream, or what
        `client.tables.open_source` made of one; fields without a class are sensitive. Raises as
        `client.uploads.upload` and `client.tables.open_source`.
        """
        chosen = options or UploadOptions()
        source = open_source(table, chosen.read)
        plan = plan_upload(source, collection, classes or {}, default, chosen.batch_rows)
        return await upload(self.session, plan, on_progress)

    async def read(
        self,
        collection: str,
        *,
        fields: Sequence[str] | None = None,
        limit: int | None = None,
        where: Sequence[str] = (),
    ) -> pa.Table:
        """Return verified records as an Arrow table, all in memory; see `export` for files."""
        stream = self.stream(collection, fields=fields, limit=limit, where=where)
        batches = [batch async for batch in stream]
        chosen = await select_fields(
            self.session, (await self._find_collection(collection)).id, fields
        )
        return pa.Table.from_batches(batches, schema=arrow_schema(chosen.columns))

    async def stream(
        self,
        collection: str,
        *,
        fields: Sequence[str] | None = None,
        limit: int | None = None,
        where: Sequence[str] = (),
    ) -> AsyncGenerator[pa.RecordBatch, None]:
        """Yield verified records batch by batch, in bounded memory.

        `where` lists conditions that all have to be met: FIELD=VALUE, also !=, <, <=, >, >=,
        and FIELD~PART for texts that contain one. They are evaluated here, on opened values.
        """
        await self.session.sync_as_member()
        found = await self._find_collection(collection)
        match = await select_matching(self.session, found.id, fields, where)
        async with aclosing(match.read(self.session, limit)) as batches:
            async for batch in batches:
                yield batch

    async def export(
        self,
        collection: str,
        *,
        fields: Sequence[str] | None = None,
        limit: int | None = None,
        path: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        on_batch: Callable[[pa.RecordBatch], None] = lambda _: None,
        on_progress: OnProgress = no_progress,
        where: Sequence[str] = (),
        options: WriteOptions = AS_IT_CAME,
    ) -> ReadResult:
        """Write verified records to a file that appears whole or not at all.

        Its suffix says of which kind: CSV, Excel, Parquet, SQLite, Arrow, JSON lines. Without a
        path each batch goes to `on_batch`; `where` as for `stream`. Raises as
        `client.exporting.export`.
        """
        await self.session.sync_as_member()
        found = await self._find_collection(collection)
        return await export(
            self.session,
            found.id,
            fields=fields,
            limit=limit,
            path=None if path is None else Path(path),
            overwrite=overwrite,
            on_batch=on_batch,
            on_progress=on_progress,
            where=where,
            options=options,
        )

    # --- members

    async def invite(
        self,
        role: Role,
        *,
        name: str,
        classes: Sequence[FieldClass] | None = None,
        days: float = DEFAULT_DAYS,
    ) -> InviteResult:
        """Invite somebody; the classes are what confirming will grant.

        Without classes an admin gets all of them, a bidder none. Raises Refused, InputError.
        """
        if classes is None:
            classes = DATA_CLASSES if role is Role.ADMIN else ()
        await self.session.sync_as_member()
        self.session.expect_may(acts.Invite)
        rules = await membership.make_rules(self.session, classes, (), None)
        made = await membership.invite(self.session, role, rules, name, int(days * DAY))
        host = self.server.removeprefix("https://")
        return InviteResult(
            link=Link(host, self.session.vault_id, made.secret, self.pin).text(),
            invite_id=made.invite.id.hex(),
            name=name,
            role=role.value,
            classes=tuple(each.name.lower() for each in classes),
            expires=made.invite.expiry,
        )

    async def confirm(
        self, member: str, *, words: str | None = None, yes: bool = False
    ) -> ActResult:
        """Confirm a member whose words were compared, and make the grants its invite planned."""
        await self.session.sync_as_member()
        self.session.expect_may(acts.Confirm)
        found = await membership.find_member(self.session, member)
        index = await membership.confirm(self.session, found, words=words, yes=yes)
        return ActResult("confirm", index, found.id.hex(), member)

    async def words(self, member: str) -> str:
        """Return the twelve words to compare with a member."""
        await self.session.sync_as_member()
        found = await membership.find_member(self.session, member)
        return membership.words_with(self.session, found.id)

    async def grant(
        self,
        member: str,
        *,
        classes: Sequence[FieldClass] = (),
        fields: Sequence[str] = (),
        collection: str | None = None,
    ) -> ActResult:
        """Grant classes or fields to a confirmed member, with every live key they cover."""
        return await self._regrant(member, classes, fields, collection, withdraw=False)

    async def withdraw_grant(
        self,
        member: str,
        *,
        classes: Sequence[FieldClass] = (),
        fields: Sequence[str] = (),
        collection: str | None = None,
    ) -> ActResult:
        """End grants of a member; the epochs it could read take no more commits."""
        return await self._regrant(member, classes, fields, collection, withdraw=True)

    async def _regrant(
        self,
        member: str,
        classes: Sequence[FieldClass],
        fields: Sequence[str],
        collection: str | None,
        *,
        withdraw: bool,
    ) -> ActResult:
        if not classes and not fields:
            raise InputError("nothing named", hint="Give --classes or --fields.")
        kind = acts.WithdrawGrant if withdraw else acts.Grant
        await self.session.sync_as_member()
        self.session.expect_may(kind)
        found = await membership.find_member(self.session, member)
        where = None if collection is None else (await self._find_collection(collection)).id
        rules = await membership.make_rules(self.session, classes, fields, where)
        payload = kind(found.id, rules)
        index = await self.session.act(saying(payload))
        return ActResult(acts.kind_of(payload), index, found.id.hex(), member)

    async def withdraw_invite(self, invite: str) -> ActResult:
        """Close an open invite."""
        await self.session.sync_as_member()
        self.session.expect_may(acts.WithdrawInvite)
        found = await membership.find_party(self.session, invite)
        if not isinstance(found, InviteState):
            raise InputError(
                f"{invite!r} has joined already",
                hint="Name --classes or --fields to end grants, or revoke the member.",
            )
        index = await self.session.act(saying(acts.WithdrawInvite(found.id)))
        return ActResult("withdraw-invite", index, found.id.hex(), invite)

    async def change_role(self, member: str, role: Role) -> ActResult:
        """Give a confirmed member another role."""
        await self.session.sync_as_member()
        self.session.expect_may(acts.ChangeRole)
        found = await membership.find_member(self.session, member)
        index = await self.session.act(saying(acts.ChangeRole(found.id, role)))
        return ActResult("change-role", index, found.id.hex(), member)

    async def revoke(self, member: str, reason: Reason = Reason.OTHER) -> RevokeResult:
        """Remove a member at once, then replace the keys it held, as far as one may."""
        await self.session.sync_as_member()
        self.session.expect_may(acts.Revoke)
        found = await membership.find_member(self.session, member, removed=True)
        return await membership.revoke(self.session, found, reason)

    async def rotate(
        self, *, collection: str | None = None, fields: Sequence[str] | None = None
    ) -> RotateResult:
        """Start new epochs: for the named fields, or for all that this member holds."""
        await self.session.sync_as_member()
        self.session.expect_may(acts.CreateEpoch)
        where = None if collection is None else (await self._find_collection(collection)).id
        if fields is None:
            wanted = membership.held_fields(self.session, where)
        else:
            rules = await membership.make_rules(self.session, (), fields, where)
            wanted = [
                (rule.collection, rule.field)
                for rule in rules
                if rule.collection and rule.field is not None
            ]
        return await membership.rotate(self.session, wanted)

    # --- the handover

    async def offer(
        self,
        member: str,
        *,
        days: float = DEFAULT_DAYS,
        words: str | None = None,
        yes: bool = False,
    ) -> OfferResult:
        """Offer the handover, to a buyer whose words were compared: every live key, with proofs."""
        started = time.monotonic()
        await self.session.sync_as_member()
        self.session.expect_may(acts.Offer)
        buyer = await membership.find_member(self.session, member)
        index = await handover.offer(self.session, buyer, int(days * DAY), words=words, yes=yes)
        opened = self.session.state.offer
        keys, expires = (len(opened.addresses), opened.expiry) if opened else (0, 0)
        return OfferResult(index, buyer.id.hex(), keys, expires, time.monotonic() - started)

    async def accept(
        self,
        *,
        words: str | None = None,
        yes: bool = False,
        on_progress: OnProgress = no_progress,
    ) -> AcceptResult:
        """Verify everything that is offered, cell by cell, and only then take over.

        Safe to repeat: whoever has accepted is told so again, and nothing is done twice.
        Raises as `client.handover.verify` and `client.handover.accept`.
        """
        started = time.monotonic()
        await self.session.sync_as_member()
        done = handover.accepted(self.session)
        if done is None:
            verified = await handover.verify(
                self.session, words=words, yes=yes, on_progress=on_progress
            )
            done = await handover.accept(self.session, verified)
        return AcceptResult(
            index=done.index,
            keys=done.keys,
            collections=len(done.receipts) - 1,
            records=sum(receipt.records for receipt in done.receipts),
            cells=sum(receipt.cells for receipt in done.receipts),
            verified_bytes=done.bytes,
            seconds=time.monotonic() - started,
        )

    async def reject(self, reason: Reason) -> ActResult:
        """Decline the open offer."""
        index = await handover.reject(self.session, reason)
        return ActResult("reject", index, self.identity.member_id.hex())
