"""Recovery by custodians, as members see it: dealing, looking, releasing (SPEC section 9.9)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final

from client.catalogs import name_of, read_people
from client.crypto.sharing import deal, open_share, release_share
from client.errors import InputError, Refused
from client.people import lacks_comparison, remember_words, words_with
from client.results.recovery import CustodianInfo, RecoveryStatus
from client.session import Session, saying
from client.words import compare_words
from protocol import acts
from protocol.errors import CommitmentMismatch, IntegrityError, SealroomError
from protocol.identity import IdentityCard, recovery_context, verify_card
from protocol.ledger.parties import Member
from protocol.ledger.state import Recovery
from protocol.wire import Fixed, from_bytes, record, to_bytes

REQUEST_PREFIX: Final = "sealroom-rescue:"
REQUEST_CHARACTERS: Final = 1_942
"""How long every request is, in base64url without padding: all that is in it is of one length."""
_REQUEST: Final = re.compile(
    rf"{REQUEST_PREFIX}((?:[\s>]*[A-Za-z0-9_-]){{{REQUEST_CHARACTERS}}})(?![A-Za-z0-9_-])"
)


@record
class Request:
    """Who wants to rebuild an owner's seed, and in which vault; nothing of it is secret."""

    vault_id: Annotated[bytes, Fixed(32)]
    card: IdentityCard

    def text(self) -> str:
        """Return it as one line."""
        return REQUEST_PREFIX + base64.urlsafe_b64encode(to_bytes(self)).decode().rstrip("=")


def parse_request(text: str, vault_id: bytes) -> Request:
    """Find the request in text, such as a mail, and check that it is for this vault.

    Whoever made it has the keys that it names. A request is as long as every other, so what stands
    before and after it, breaks it into lines, or quotes these with > is not taken for a part of it.

    Raises:
        InputError: there is none, not the whole of one, one for another vault, or different ones.
    """
    whole = {found for each in _REQUEST.finditer(text) if (found := _read(each[1])) is not None}
    if not whole:
        raise InputError(
            "this is no rescue request, or not the whole of one",
            hint="'sealroom recovery request' makes one, on the machine of whoever lost its keys.",
        )
    ours = [each for each in whole if each.vault_id == vault_id]
    if not ours:
        raise InputError("the rescue request is for another vault")
    if len(ours) > 1:
        raise InputError(
            f"there are {len(ours)} different rescue requests in it",
            hint="Leave in it the one that you mean to answer.",
        )
    return ours[0]


def _read(found: str) -> Request | None:
    """Return the request that was found, if it is one."""
    encoded = "".join(re.split(r"[\s>]+", found))
    try:
        padded = encoded + "=" * (-len(encoded) % 4)
        request = from_bytes(Request, base64.urlsafe_b64decode(padded))
        verify_card(request.card, recovery_context(request.vault_id))
    except (ValueError, SealroomError):
        return None
    return request


async def set_up(
    session: Session,
    custodians: Sequence[tuple[str, Member]],
    threshold: int,
    *,
    words: Mapping[str, str],
    yes: bool,
) -> int:
    """Deal the owner's seed to custodians, any `threshold` of whom can rebuild it.

    Each comes with the name by which the owner asked for it, which `words` are listed by too.
    Whoever stands behind so many of them is the owner. So the owner itself compares the words of
    each: any admin could have confirmed a key of its own, and written that name beside it.

    Raises:
        InputError: a threshold below two, or above the number of custodians; one named twice;
            words for somebody else.
        PinMismatch: words differ; nobody's are taken as compared.
        Refused: this member is not the owner, or a custodian is not confirmed, or its words were
            never compared.
    """
    if not 2 <= threshold <= len(custodians):
        raise InputError(
            f"a threshold of {threshold} among {len(custodians)}",
            hint="At least two together, and no more than there are.",
        )
    if len({member.id for _, member in custodians}) < len(custodians):
        raise InputError("a custodian was named twice", hint="One gets one share.")
    others = words.keys() - {name for name, _ in custodians}
    if others:
        raise InputError(f"words are given for {_listed(others)}, who is to be no custodian")
    public = [member.identity for _, member in custodians]
    dealing = deal(session.identity, session.vault_id, public, threshold)
    session.expect_allowed(acts.Custodians(dealing))
    await _expect_compared(session, custodians, threshold, words, yes)
    return await session.act(saying(acts.Custodians(dealing)))


async def _expect_compared(
    session: Session,
    custodians: Sequence[tuple[str, Member]],
    threshold: int,
    words: Mapping[str, str],
    yes: bool,
) -> None:
    for name, member in custodians:
        if name in words:
            compare_words(words_with(session, member.id), words[name])
    for name, member in custodians:
        await remember_words(session, member.id, words.get(name), yes)
    lacking = await _lacking(session, custodians)
    if lacking:
        yours = "; ".join(f"with {name}: {mine}" for name, (_, mine) in lacking.items())
        reasons = sorted({why for why, _ in lacking.values()})
        told = [
            f"of {_listed(name for name, (known, _) in lacking.items() if known == why)} {why}"
            for why in reasons
        ]
        raise Refused(
            f"the twelve words {'; '.join(told)}",
            code="not_compared",
            hint=f"Whoever stands behind {threshold} custodians is the owner. Ask each for them by "
            f"voice, then give them with --words NAME='TWELVE WORDS'. Yours are {yours}",
        )


async def not_compared(
    session: Session, custodians: Iterable[tuple[str, Member]]
) -> dict[str, str]:
    """Return the words to compare with each member with whom this home has to, by name."""
    return {name: mine for name, (_, mine) in (await _lacking(session, custodians)).items()}


async def _lacking(
    session: Session, custodians: Iterable[tuple[str, Member]]
) -> dict[str, tuple[str, str]]:
    """Return what is to be said of the words of those who are not compared, and these, by name."""
    whys = {
        name: (await lacks_comparison(session, member.id, None, yes=False), member)
        for name, member in custodians
    }
    return {
        name: (why, words_with(session, member.id))
        for name, (why, member) in whys.items()
        if why is not None
    }


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


async def status(session: Session) -> RecoveryStatus | None:
    """Say who the custodians are, and check one's own share; None without any."""
    recovery = session.state.recovery
    if recovery is None:
        return None
    people = await read_people(session)
    members = session.state.members
    return RecoveryStatus(
        index=recovery.at,
        threshold=recovery.dealing.threshold,
        custodians=tuple(
            CustodianInfo(
                each.hex(),
                name_of(session.state, people, each),
                members[each].live,
                sum(one.custodian == each for one in recovery.released),
            )
            for each in recovery.dealing.custodians
        ),
        rebuilt=recovery.rebuilt,
        mine=_own_share_is_right(session, recovery),
    )


def _own_share_is_right(session: Session, recovery: Recovery) -> bool | None:
    if session.identity.member_id not in recovery.dealing.custodians:
        return None
    try:
        open_share(session.identity, session.vault_id, recovery.owner, recovery.dealing)
    except (IntegrityError, CommitmentMismatch):
        return False
    return True


async def release(session: Session, request: Request, *, words: str | None, yes: bool) -> int:
    """Give one's share to whoever rebuilds, in an act that all members see.

    Raises:
        PinMismatch: the words differ.
        Refused: they were not compared, or this member has no share of the dealing in force.
        CommitmentMismatch, IntegrityError: its share is not the one that was dealt to it.
    """
    recovery = session.state.recovery
    if recovery is None or session.identity.member_id not in recovery.dealing.custodians:
        raise Refused(
            "you keep no share of the owner's keys",
            code="not_authorised",
            hint="'sealroom recovery status' shows who does.",
        )
    rebuilder = request.card.identity
    if not await remember_words(session, rebuilder.member_id, words, yes):
        raise Refused(
            "the twelve words were not compared",
            code="not_compared",
            hint="Whoever has two shares is the owner. Speak with the person, and compare: "
            f"yours are: {words_with(session, rebuilder.member_id)}",
        )
    share = open_share(session.identity, session.vault_id, recovery.owner, recovery.dealing)
    box = release_share(share, session.vault_id, recovery.at, session.identity.member_id, rebuilder)
    return await session.act(saying(acts.Release(recovery.at, request.card, box)))
