"""Custodians of the owner's keys, as members see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from client import recovery
from client.people import find_member, words_with
from client.results.log import ActResult
from client.results.recovery import RecoveryStatus
from client.session import saying
from client.vault.face import Face
from protocol import acts
from protocol.ledger.parties import Member


class Custody(Face):
    """Dealing the owner's seed to custodians, and a custodian's own part."""

    async def set_up_recovery(
        self,
        custodians: Sequence[str],
        threshold: int = 2,
        *,
        words: Mapping[str, str] | None = None,
        yes: bool = False,
    ) -> RecoveryStatus:
        """Give each custodian a share of the owner's keys: any `threshold` of them rebuild it.

        The words of each must have been compared in this home: at `confirm`, or now, by name in
        `words`, or with `yes` for all of them.

        Raises:
            InputError: a threshold that does not fit, nobody of a name, words for somebody else.
            PinMismatch: words differ.
            Refused: this member is not the owner, a custodian is not confirmed, or the words of
                some were not compared.
        """
        found = await self._custodians(custodians)
        await recovery.set_up(self.session, found, threshold, words=words or {}, yes=yes)
        status = await recovery.status(self.session)
        assert status is not None  # it has just landed
        return status

    async def custodian_words(self, custodians: Sequence[str]) -> dict[str, str]:
        """Return the words to compare with each of these whose words never were, by name."""
        return await recovery.not_compared(self.session, await self._custodians(custodians))

    async def _custodians(self, names: Sequence[str]) -> list[tuple[str, Member]]:
        await self.session.sync_as_member()
        self.session.expect_may(acts.Custodians)
        return [(name, await find_member(self.session, name)) for name in names]

    async def end_recovery(self) -> ActResult:
        """Let nobody rebuild the owner's keys any more."""
        await self.session.sync_as_member()
        self.session.expect_may(acts.Custodians)
        index = await self.session.act(saying(acts.Custodians(None)))
        return ActResult("custodians", index)

    async def recovery_status(self) -> RecoveryStatus | None:
        """Say who the custodians are; None without any. A custodian's own share is checked."""
        await self.session.sync_as_member()
        return await recovery.status(self.session)

    async def release_share(
        self, request: str, *, words: str | None = None, yes: bool = False
    ) -> ActResult:
        """Give one's share to whoever made the request, once words were compared.

        Raises:
            InputError: no request, or one for another vault.
            Refused: no share, or words that were not compared.
        """
        await self.session.sync_as_member()
        parsed = recovery.parse_request(request, self.session.vault_id)
        index = await recovery.release(self.session, parsed, words=words, yes=yes)
        return ActResult("release", index, parsed.card.identity.member_id.hex())

    async def request_words(self, request: str) -> str:
        """Return the words to compare with whoever made a rescue request."""
        await self.session.sync_as_member()
        parsed = recovery.parse_request(request, self.session.vault_id)
        return words_with(self.session, parsed.card.identity.member_id)
