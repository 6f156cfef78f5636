"""The recovery kit: one identity on paper, to be typed or scanned (SPEC section 4.5).

A kit is a seed in clear, with where it serves. Whoever has it is its owner: it belongs into a
safe. The page that is printed has the seed as twenty-four words, and all of it as a QR code.
"""

from __future__ import annotations

import base64
import html
import io
import os
import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import segno
from mnemonic import Mnemonic

from client.crypto.secrets import Seed
from client.errors import InputError
from protocol.errors import SealroomError
from protocol.wire import Fixed, Maybe, Text, Uint, from_bytes, record, to_bytes

KIT_PREFIX: Final = "sealroom-kit:"
KIT_VERSION: Final = 1
SEED_WORDS: Final = 24
# On paper the code has lines; in the page it stands once in one piece, before that.
_CODE: Final = re.compile(KIT_PREFIX + r"([A-Za-z0-9_\s-]+)")


@record
class KitCode:
    """What the QR code and the last line of a page carry."""

    version: Annotated[int, Uint(255)]
    vault_id: Annotated[bytes, Fixed(32)]
    server: Annotated[str, Text(2_048, 1)]
    tls_pin: Annotated[bytes | None, Maybe(Fixed(32))]
    seed: Annotated[bytes, Fixed(32)]


@dataclass(frozen=True, slots=True)
class Kit:
    """One identity and where it serves: the seed, the vault's id, the server and its pin."""

    vault_id: bytes
    server: str
    tls_pin: bytes | None
    seed: Seed = field(repr=False)

    def words(self) -> str:
        """Return the seed as 24 words with a checksum (BIP-39)."""
        return Mnemonic("english").to_mnemonic(self.seed.expose())

    def code(self) -> str:
        """Return everything as one line of text."""
        code = KitCode(KIT_VERSION, self.vault_id, self.server, self.tls_pin, self.seed.expose())
        return KIT_PREFIX + base64.urlsafe_b64encode(to_bytes(code)).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Backup:
    """A kit that lies on paper. `unconfirmed` is why its vault's server did not confirm it.

    None where it did: this identity serves there now, and the server is where the kit says.
    """

    kit: Kit
    unconfirmed: str | None


def parse_kit(text: str) -> Kit:
    """Find a kit's code in text, such as a whole page, and read it.

    Raises:
        InputError: there is none, not all of it, or one of another version; nothing of it is
            repeated.
    """
    found = _CODE.search(text)
    if found is None:
        raise InputError(
            f"there is no recovery kit in it: no text that begins with {KIT_PREFIX}",
            hint="Scan the page's QR code, or give the words with --words.",
        )
    encoded = "".join(found[1].split())
    try:
        code = from_bytes(KitCode, base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (ValueError, SealroomError):
        code = None
    if code is None:
        raise InputError("the recovery kit's code is not whole", hint="Scan it anew.")
    if code.version != KIT_VERSION:
        raise InputError(
            f"the recovery kit is of version {code.version}, and this client reads {KIT_VERSION}",
            hint="Restore it with a newer one.",
        )
    return Kit(code.vault_id, code.server, code.tls_pin, Seed(code.seed))


def seed_of_words(text: str) -> Seed:
    """Return the seed that 24 words stand for.

    Raises:
        InputError: not 24 words of the list, or their checksum is wrong: a word was mistaken.
    """
    words = text.casefold().split()
    reader = Mnemonic("english")
    wrong = ""
    if len(words) != SEED_WORDS:  # fewer could fit together too, as another's shorter seed
        wrong = f"there are {len(words)}"
    elif not reader.check(" ".join(words)):
        unknown = next((at for at, word in enumerate(words, 1) if word not in reader.wordlist), 0)
        wrong = f"word {unknown} is not on the list" if unknown else "they do not fit together"
    if wrong:
        raise InputError(
            f"these are not a kit's {SEED_WORDS} words: {wrong}",
            hint="Compare each with the page, in the order of its numbers.",
        )
    return Seed(bytes(reader.to_entropy(" ".join(words))))


def write_page(path: Path, kit: Kit, *, title: str, name: str, member_id: str) -> None:
    """Write the page to print, private to its owner.

    Raises:
        InputError: there is a file already; it is left as it is.
        OSError: it cannot be written there; half a page is not left.
    """
    page = _page(kit, title=title, name=name, member_id=member_id)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InputError(f"there is a file {path} already", hint="Choose another name.") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink()
        raise


def _page(kit: Kit, *, title: str, name: str, member_id: str) -> str:
    svg = io.BytesIO()
    segno.make(kit.code(), error="m", micro=False).save(
        svg, kind="svg", scale=4, border=2, xmldecl=False, svgns=True
    )
    words = "".join(f"<li>{word}</li>" for word in kit.words().split())
    facts = (
        ("Vault", title or "untitled"),
        ("Vault id", kit.vault_id.hex()),
        ("Server", kit.server),
        ("Server's pin", kit.tls_pin.hex() if kit.tls_pin else "-"),
        ("Who", name or "-"),
        ("Member id", member_id),
    )
    rows = "".join(
        f"<tr><th>{html.escape(what)}</th><td>{html.escape(said)}</td></tr>" for what, said in facts
    )
    code = "<br>".join(textwrap.wrap(html.escape(kit.code()), 76))
    whole = html.escape(kit.code())
    return _PAGE.format(rows=rows, words=words, svg=svg.getvalue().decode(), code=code, whole=whole)


_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="kit" content="{whole}">
<title>Sealroom recovery kit</title>
<style>
@page {{ size: A4; margin: 18mm }}
body {{ font: 11pt/1.4 Georgia, serif; color: #111; max-width: 174mm; margin: 12mm auto }}
h1 {{ font-size: 20pt; margin: 0 0 2mm }}
p.warn {{ border: 1.5pt solid #111; padding: 3mm 4mm; margin: 4mm 0 6mm }}
table {{ border-collapse: collapse; width: 100%; margin-bottom: 6mm }}
th {{ text-align: left; font-weight: normal; color: #555; padding: 1mm 4mm 1mm 0; width: 28mm }}
td {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 8.5pt;
      word-break: break-all }}
ol {{ columns: 3; font: 12pt/1.9 ui-monospace, Menlo, Consolas, monospace; margin: 0 0 6mm;
      padding-left: 9mm }}
.both {{ display: flex; gap: 8mm; align-items: flex-start }}
.code {{ font: 7pt/1.5 ui-monospace, Menlo, Consolas, monospace; word-break: break-all }}
</style></head><body>
<h1>Recovery kit</h1>
<p class="warn">Whoever has this page can open and do whatever its owner can. Print it, delete the
file, and keep the paper in a safe. It stops working when the identity is rotated.</p>
<table>{rows}</table>
<p>The identity, as words; <code>sealroom identity restore</code> asks for them:</p>
<ol>{words}</ol>
<div class="both"><div>{svg}</div>
<div><p>All of it in one code. Scanned, or typed from below, it is what
<code>sealroom identity restore --kit FILE</code> reads:</p><p class="code">{code}</p></div></div>
</body></html>
"""
