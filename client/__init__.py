"""Sealroom's SDK: `Home` opens a keyring, `Vault` is one vault as one member sees it.

Everything else in this package serves these two. Results are in `client.results`, errors in
`client.errors` and `protocol.errors`; `client.blocking` has the same without asyncio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from client.lazily import finder

if TYPE_CHECKING:
    from client.home import Home
    from client.tables.options import ReadOptions, WriteOptions
    from client.vault import UploadOptions, Vault
    from protocol.acts import Reason, Role
    from protocol.blocks import FieldClass

__all__ = [
    "FieldClass",
    "Home",
    "ReadOptions",
    "Reason",
    "Role",
    "UploadOptions",
    "Vault",
    "WriteOptions",
]

_HOMES = {
    "FieldClass": "protocol.blocks",
    "Home": "client.home",
    "ReadOptions": "client.tables.options",
    "Reason": "protocol.acts",
    "Role": "protocol.acts",
    "UploadOptions": "client.vault",
    "Vault": "client.vault",
    "WriteOptions": "client.tables.options",
}


if not TYPE_CHECKING:
    __getattr__ = finder(__name__, _HOMES)
