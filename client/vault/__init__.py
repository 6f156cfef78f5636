"""The SDK's face: one vault, and what a member does in it.

Every method is a coroutine that syncs first, so that it works on the newest verified state,
and returns plain typed results (`client.results`). `client.blocking` has the same for
notebooks and scripts without asyncio.
"""

from __future__ import annotations

from client.vault.custody import Custody
from client.vault.data import DATA_CLASSES, Data, UploadOptions, field_class
from client.vault.documents import Documents
from client.vault.handing import Handing
from client.vault.keys import Keys
from client.vault.looking import Looking
from client.vault.members import DEFAULT_DAYS, Members

__all__ = ["DATA_CLASSES", "DEFAULT_DAYS", "UploadOptions", "Vault", "field_class"]


class Vault(Looking, Data, Documents, Members, Keys, Handing, Custody):
    """One vault, as one of its members sees it. Use it as an async context."""
