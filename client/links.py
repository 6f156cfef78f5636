"""Invite links: sealroom://HOST/VAULT_ID#SECRET.PIN (SPEC section 4.3)."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Final

from client.crypto.secrets import InviteSecret
from client.errors import InputError
from protocol.requests import AUTHORITY

_SECRET: Final = r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"
_LINK: Final = re.compile(
    rf"sealroom://(?P<host>{AUTHORITY})/(?P<vault>[0-9a-f]{{64}})"
    rf"#(?P<secret>{_SECRET})(?:\.(?P<pin>{_SECRET}))?"
)


@dataclass(frozen=True, slots=True)
class Link:
    """An invite link taken apart. What follows # never travels to any server."""

    host: str
    vault_id: bytes
    secret: InviteSecret = field(repr=False)
    pin: bytes | None

    @property
    def url(self) -> str:
        """The server's address."""
        return f"https://{self.host}"

    def text(self) -> str:
        """Return the link itself. It holds the invite's secret: show it to its reader only."""
        tail = _encoded(self.secret.expose()) + (f".{_encoded(self.pin)}" if self.pin else "")
        return f"sealroom://{self.host}/{self.vault_id.hex()}#{tail}"


def parse_link(text: str) -> Link:
    """Parse a link, allowing for white space around it.

    Raises:
        InputError: not a whole link; the message does not repeat it, since it holds a secret.
    """
    found = _LINK.fullmatch(text.strip())
    if found is None:
        raise InputError(
            "that is not a whole invite link",
            hint="Copy it anew, in quotes: sealroom://HOST/VAULT#SECRET, up to its last letter.",
        )
    pin = found["pin"]
    return Link(
        found["host"],
        bytes.fromhex(found["vault"]),
        InviteSecret(_decoded(found["secret"])),
        None if pin is None else _decoded(pin),
    )


def _encoded(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=")
