"""What a server says when it refuses, told as what it says (SPEC section 10.3).

Whoever runs the server words its refusals. So they are quoted, the hints are ours, and the codes
are those that a refusal may have: nothing that a server sends speaks in this program's voice.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from client.drawn import drawn
from client.errors import Refused
from protocol.api import ErrorBody
from protocol.errors import ClockSkew
from protocol.limits import LIMITS

NO_CODE: Final = "refused"
"""The code of a refusal with one that is not a server's to give: what a client itself found."""

MOST_QUOTED: Final = 400
"""So many characters of a server's words are shown; no honest refusal is as long."""
MOST_READ: Final = 10 * MOST_QUOTED

_QUOTES: Final = frozenset(
    '"\u02ba\u02dd\u02ee\u02f5\u02f6\u05f4\u201a\u201e\u2033\u2034\u2036\u2037\u2057\u275b\u275c\u275d'
    "\u275e\u275f\u2760\u276e\u276f\u2e42\u3003\u300c\u300d\u300e\u300f\u301d\u301e\u301f\uff02\uff62\uff63"
    "\U0001f676\U0001f677\U0001f678"
)
"""What is drawn like a quote, beside what Unicode has as one that opens or closes (Pi, Pf)."""

_ROTATE: Final = "Someone who held a key was removed. Run 'sealroom rotate', then try again."

HINTS: Final[Mapping[str, tuple[str, ...]]] = {
    "malformed": (),
    "non_canonical": (),
    "no_length": (),
    "wrong_content_type": (),
    "wrong_method": (),
    "too_slow": ("Send it again.",),
    "unsupported": ("Update sealroom.",),
    "limit_exceeded": (
        "'sealroom erase --names-by' takes away those that nobody goes by.",
        "Ask another custodian.",
        "Ask for fewer.",
        "Ask for fewer blocks.",
        "Commit what was uploaded, then go on.",
        "Wait N s.",
    ),
    "rate_limited": ("Wait N s.",),
    "not_found": (
        "Check the vault's id and the identity: whoever is not a member is told nothing.",
    ),
    "replay": ("sign it again, and send it",),
    "server_restarted": ("sign the request again, and send it",),
    "clock_skew": ("set the clock of the machine that sent it",),
    "unauthenticated": ("reach the server by the name it was configured with",),
    "not_authorised": (
        "Admins and bidders are granted data.",
        "Ask the owner.",
        "Ask whoever runs the server for it.",
        "The members changed meanwhile: look again, and try again.",
    ),
    "out_of_order": (
        "A grant ends as it was made: a class as a class, a field as a field.",
        "Ask for a new one.",
        "Compare the twelve words, then confirm it.",
        "Run 'sealroom identity rotate'.",
        "Run 'sealroom rotate' first.",
        "Run 'sealroom rotate --reencrypt' again.",
        "Someone who held its key was removed. Run 'sealroom rotate', then try again.",
        _ROTATE,
        "Sync first.",
        "Sync, and erase again.",
        "Upload it again, then commit.",
    ),
    "frozen": ("The owner lifts it, with 'sealroom unfreeze'.",),
    "moved": ("Sync, and ask again.", "Sync, and seal it once more."),
    "stale_act": ("Look at what changed, and try again.", "Sync, and try again."),
    "conflict": (
        "Begin another one.",
        "Make a new identity and try again.",
        "Sync, and sign it anew.",
    ),
    "already_exists": (),
    "not_staged": ("upload it again, then commit",),
    "size_moved": ("sync and append again",),
    "internal": ("Its operator finds it logged.",),
    "storage_failed": ("Ask again.", "see the server's disk and log"),
    "storage_full": ("Have whoever runs it free some space, then repeat the command.",),
    "storage_damaged": (
        "Have whoever runs the server see what 'sealroom store check' says, and put back a copy.",
    ),
    "busy": (),
    NO_CODE: (
        "Ask this server for its key again.",
        "Erase all records of its batch: then nothing of it need be understood.",
        "Its author was shown another history. Compare checkpoints with its author.",
    ),
}
"""Every code that a refusal may come with, and the hints that a server may choose from with it."""


def code_of(told: ErrorBody) -> str:
    """Return the code of a refusal: the server's, if it is one that a server gives."""
    return told.code if told.code in HINTS else NO_CODE


def hint_of(told: ErrorBody) -> str | None:
    """Return the hint of a refusal if it is one of ours, whatever number of seconds is in it."""
    hint = told.hint or ""
    return told.hint if re.sub(r"\b[0-9]{1,5}\b", "N", hint) in HINTS[code_of(told)] else None


def quoted(told: ErrorBody) -> str:
    """Return a refusal's words as what the server says, which nothing in them can seem to end.

    What looks like a quote is a single one, and there is one space at a time: a row of them could
    move what follows to the beginning of a line, where the client's own words stand.
    """
    plain = "".join(map(_plain, told.message[:MOST_READ]))
    words = " ".join(plain.split())
    if len(words) > MOST_QUOTED or len(told.message) > MOST_READ:
        words = words[:MOST_QUOTED].rstrip() + " ..."
    return f'the server says: "{words}"'


def _plain(character: str) -> str:
    if character in _QUOTES or unicodedata.category(character) in ("Pi", "Pf"):
        return "'"
    blank = character.isspace() or not all(drawn(character))
    return " " if blank else character


def refused(told: ErrorBody, now: float) -> Refused:
    """Return the error of a refusal; `now` is this machine's time, in unix seconds."""
    if told.code == ClockSkew.code:
        return _clocks_apart(told, now)
    return Refused(quoted(told), code=code_of(told), hint=hint_of(told))


def _clocks_apart(told: ErrorBody, now: float) -> Refused:
    """Return the error of a request whose time was not the server's, by both clocks.

    Which of them is wrong neither side knows.
    """
    apart = abs(int(now) - told.time)
    if apart <= LIMITS.request_skew_seconds:
        hint = "Both clocks agree by now: try again. It may have been long on its way."
        return Refused(quoted(told), code=code_of(told), hint=hint)
    return Refused(
        f"this machine's clock says {_utc(int(now))}, and the server's {_utc(told.time)}: they are "
        f"{apart:,} s apart, and requests are taken within {LIMITS.request_skew_seconds} s",
        code=code_of(told),
        hint="One of the two is wrong: look at a clock that you trust. Set this machine's if it is "
        "that one; else tell whoever runs the server.",
    )


def _utc(unix: int) -> str:
    """Return a time as people read it, or in seconds where it is beyond all calendars."""
    try:
        return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OSError, OverflowError, ValueError):
        return f"{unix:,} s after 1970"
