"""What one can look at: how the vault stands, who is in it, what it holds, what happened."""

from __future__ import annotations

from client.catalogs import Names, names_in_journal, read_names, read_people
from client.documents.entries import documents_in, holds_documents
from client.fields import tainted_fields
from client.journals import JournalledUpload
from client.ledger_words import log_entries
from client.new_keys import new_keys
from client.people import list_members
from client.results.data import CollectionInfo, FieldInfo, UnfinishedUpload
from client.results.log import LogResult
from client.results.people import MemberInfo
from client.results.vaults import OfferInfo, VaultStatus
from client.unheard import unheard
from client.vault.face import Face
from protocol.blocks import PEOPLE_COLLECTION, PEOPLE_FIELD
from protocol.ledger.contents import Collection


class Looking(Face):
    """Reading what the log and the catalogs say."""

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

    async def title_sealed(self) -> bool:
        """Say whether there may be a title that this member cannot know: no name opens to it."""
        if self.session.may_open(PEOPLE_COLLECTION, PEOPLE_FIELD) or await self.title():
            return False
        names = [await read_names(self.session, each) for each in self._listed()]
        return all(each.name is None for each in names)

    async def status(self) -> VaultStatus:
        """Sync, and say how the vault stands."""
        await self.session.sync()
        state, pin = self.session.state, self.session.believed.pin
        holding = {each: await self._documents(each) for each in self._listed()}
        tables = [each for each, count in holding.items() if count is None]
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
            collections=len(tables),
            records=sum(state.collections[each].records for each in tables),
            offer=await self._offer(),
            tainted_fields=len(tainted_fields(state)),
            new_keys=await new_keys(self.session),
            phase=state.phase.value,
            head_age=self.session.head_age(),
            head_limit=state.policy.head_seconds,
            documents=sum(count or 0 for count in holding.values()),
            nameless=len([each for each in tables if await self._closed(each)]),
            title_sealed=await self.title_sealed(),
            unheard=await unheard(self.session),
        )

    def _listed(self) -> tuple[bytes, ...]:
        known = self.session.state.collections
        return tuple(each for each in known if each != PEOPLE_COLLECTION)

    async def _closed(self, collection: bytes) -> bool:
        """Say whether a collection has names, and this member may know none of them."""
        where = self.session.state.collections.get(collection)
        visible = where is not None and bool(where.batches)
        return visible and (await read_names(self.session, collection)).name is None

    async def _documents(self, collection: bytes) -> int | None:
        """Return how many documents a collection holds, None where it is one of a table."""
        names = await read_names(self.session, collection)
        if not holds_documents(names):
            return None
        # Of a frozen vault this home may not have all names: then those that it has are counted.
        return len(await documents_in(self.session, collection)) if not names.missing else 0

    async def _offer(self) -> OfferInfo | None:
        opened = self.session.state.offer
        if opened is None:
            return None
        members = {m.member_id: m for m in await list_members(self.session)}
        buyer = members[opened.buyer.hex()]
        mine = opened.buyer == self.identity.member_id
        return OfferInfo(opened.index, buyer.member_id, buyer.name or "", opened.expiry, mine)

    async def members(self) -> tuple[MemberInfo, ...]:
        """List members and open invites."""
        await self.session.sync()
        return await list_members(self.session)

    async def collections(self) -> tuple[CollectionInfo, ...]:
        """List the collections, with the names that this member may know."""
        await self.session.sync_as_member()
        known = self.session.state.collections
        return tuple([await self._collection(known[each]) for each in self._listed()])

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
            documents=await self._documents(where.id),
            closed=await self._closed(where.id),
            unfinished=tuple(
                self._unfinished(begun, names)
                for begun in self.session.store.uploads.unfinished()
                if begun.collection == where.id and self._under_way(begun, where)
            ),
        )

    def _under_way(self, begun: JournalledUpload, where: Collection) -> bool:
        """Say whether an upload has not landed, and there is something of it to tell."""
        if begun.upload in self.session.state.uploads:
            return False
        return not where.batches or bool(self.session.store.uploads.batches(begun.upload))

    def _unfinished(self, begun: JournalledUpload, names: Names) -> UnfinishedUpload:
        """Describe an upload that is under way; a collection that has names is called by them."""
        sealed = self.session.store.uploads.batches(begun.upload).values()
        data = [manifest.records for manifest in sealed if not manifest.is_catalog]
        its_own = names_in_journal(self.session, begun)
        return UnfinishedUpload(names.name or its_own.name, its_own.file, sum(data), len(data))

    async def log(self, *, verify: bool = False) -> LogResult:
        """Return the log in words; with `verify`, replay it from the genesis once more.

        A false statement of the server's on what it served ends nothing: it is listed, and named.
        """
        await self.session.sync()
        entries = await log_entries(self.session)
        believed = self.session.believed
        verified = believed.verify_again() if verify else 0
        return LogResult(
            vault_id=self.vault_id,
            size=believed.ledger.size,
            root=believed.pin.root.hex(),
            checkpoint=believed.pin.note().decode(),
            checkpoint_age=max(0, int(self.session.clock()) - believed.pin.time),
            verified=verified,
            entries=entries,
            false_observations=tuple(e.index for e in entries if "untrue" in e.detail),
        )
