"""Looking whether all documents are whole, before they are taken over (SPEC section 7.6)."""

from __future__ import annotations

from client.columns import Cells
from client.documents.chunks import Assembly
from client.documents.entries import Document, documents_in
from client.session import Session
from protocol.ledger.contents import Batch


class Checks:
    """Puts the documents of a collection together as its cells are opened, and keeps nothing.

    What was removed in part is left out: nobody can get it any more.
    """

    def __init__(self, documents: tuple[Document, ...]) -> None:
        """Begin with none of their chunks.

        Raises:
            IntegrityError: a document has other chunks than its entry counts, or no entry.
        """
        self._begun: dict[bytes, Assembly] = {}
        for each in documents:
            if not each.removed:
                entry = each.expect_whole()
                self._begun[each.id] = Assembly(each.id, entry.size, entry.sha256)

    def concern(self, batch: Batch) -> bool:
        """Say whether a batch holds chunks of a document that is to be checked."""
        return batch.upload in self._begun

    def take(self, batch: Batch, cells: Cells) -> None:
        """Take the opened cells of the next batch of the collection; runs in a thread.

        Raises:
            IntegrityError: they are not the next chunks of their document.
        """
        assembly = self._begun.get(batch.upload)
        if assembly is not None:
            for position in range(cells.count):
                assembly.take(cells.cell(position))

    def finish(self) -> None:
        """Look whether all were there.

        Raises:
            IntegrityError: a document was cut short, or is not the file that was attached.
        """
        for assembly in self._begun.values():
            assembly.finish()


async def checks_of(session: Session, collection: bytes) -> Checks:
    """Return the checks for a collection; of one without documents there is nothing to check.

    Raises:
        IntegrityError: as `Checks`.
        ManifestMismatch: the server sent a block that is not the committed one.
    """
    return Checks(await documents_in(session, collection))
