"""`make defences`: each defence of the threat table taken out, and the row's own tests run.

`tests/threats.py` says which tests settle a row; here stand the places where its defences are, as
the text that is there and the text without them. A row whose tests still pass says more than it
shows. Beside `make mutants`, which takes out whatever a verifier refuses, this takes out what a
verifier does: what is tainted, kept, dropped, bounded.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import click

from tests.mutants.finding import Mutant
from tests.mutants.playing import CannotPlay, Verdict, play, preload
from tests.mutants.targets import REPO
from tests.threats import settling


@dataclass(frozen=True, slots=True)
class Defence:
    """One defence of a row: where it is, and what stands there without it."""

    row: str
    what: str
    path: str
    there: str
    without: str

    def taken_out(self) -> str:
        """Return the module's text without it.

        Raises:
            ValueError: what should be taken out is not there, or more than once.
        """
        text = (REPO / self.path).read_text(encoding="utf-8")
        if text.count(self.there) != 1:
            raise ValueError(f"{self.row}, {self.what}: {self.path} does not have it once")
        return text.replace(self.there, self.without)

    @property
    def mutant(self) -> Mutant:
        """The module without it, to be played."""
        return Mutant(self.path, self.row, self.what, 0, self.taken_out)


DEFENCES: Final = (
    Defence(
        "K1",
        "a joiner's card is for one invite",
        "protocol/identity.py",
        "return vault_id + invite\n",
        "return vault_id\n",
    ),
    Defence(
        "K1",
        "who is confirmed was compared by words",
        "client/inviting.py",
        "lacking = await lacks_comparison(session, member.id, words, yes)",
        "lacking = None",
    ),
    Defence(
        "K1",
        "who is offered the vault was compared by words",
        "client/handover.py",
        "lacking = await lacks_comparison(session, buyer.id, words, yes)",
        "lacking = None",
    ),
    Defence(
        "K2",
        "the first leaf is this vault's",
        "client/trust.py",
        "if progress.ledger.state.vault_id != self.vault_id:",
        "if False:",
    ),
    Defence(
        "K2",
        "the joiner is the one of this link",
        "client/inviting.py",
        "if identity.member_id != found.id:",
        "if False:",
    ),
    Defence(
        "K2",
        "nobody is granted anything before the confirmation",
        "protocol/ledger/members.py",
        (
            "    if member.status is not MemberStatus.CONFIRMED:\n"
            "        raise OutOfOrder(\n"
            '            "that member is not confirmed yet"'
        ),
        (
            "    if False:\n"
            "        raise OutOfOrder(\n"
            '            "that member is not confirmed yet"'
        ),
    ),
    Defence(
        "K14",
        "who is not confirmed does not act",
        "protocol/ledger/log.py",
        "elif row.confirmed and member.status is not MemberStatus.CONFIRMED:",
        "elif False:",
    ),
    Defence(
        "K14",
        "an admin makes no admin",
        "protocol/ledger/members.py",
        "if role in ADMIN_ROLES and author != state.owner:",
        "if False:",
    ),
    Defence(
        "K14",
        "names of people have a bound",
        "vault/names.py",
        "if sum(map(_bytes, chain(known, payload.manifests))) > NAMES_BYTES:",
        "if False:",
    ),
    Defence(
        "K15",
        "the tree does not get smaller than the pin",
        "client/trust.py",
        "least = ledger.size\n",
        "least = 0\n",
    ),
    Defence(
        "K15",
        "a replaced identity is nobody",
        "protocol/ledger/members.py",
        "status=MemberStatus.REPLACED,",
        "status=MemberStatus.CONFIRMED,",
    ),
    Defence(
        "K15",
        "each try to replace an identity has a seed of its own",
        "client/renewal.py",
        "following = Identity.generate()",
        "following = Identity(Seed(bytes(range(32))))",
    ),
    Defence(
        "K16",
        "only the owner names custodians",
        "protocol/ledger/transitions.py",
        "Transition(acts.Custodians,      _OWNER,",
        "Transition(acts.Custodians,      _ADMINS,",
    ),
    Defence(
        "K16",
        "custodians were compared by words",
        "client/recovery.py",
        "await _expect_compared(session, custodians, threshold, words, yes)",
        "pass",
    ),
    Defence(
        "C5",
        "that a vault is frozen, the log says",
        "client/catalogs.py",
        (
            "                if not frozen:\n"
            "                    _expect_was_frozen(session, known, error)"
        ),
        "                if not frozen:\n                    return error",
    ),
    Defence(
        "C5",
        "a file has all records",
        "client/exporting.py",
        "if match.records != total and not (where and records == limit):",
        "if False:",
    ),
    Defence(
        "C5",
        "every block that was asked for came",
        "client/fetching.py",
        "                if at < len(request):\n                    raise",
        "                if False:\n                    raise",
    ),
    Defence(
        "C14",
        "a chunk says which one it is",
        "client/documents/chunks.py",
        "if len(view) != length or view[:HEADER_BYTES] != expected:",
        "if len(view) != length:",
    ),
    Defence(
        "C14",
        "a document's hash is the one that its writer gave",
        "client/documents/chunks.py",
        "if not hmac.compare_digest(self._hash.digest(), self._sha256):",
        "if False:",
    ),
    Defence(
        "Z4",
        "a key's share has the published hash",
        "client/crypto/keys.py",
        "if not hmac.compare_digest(share_hash(share), published_share_hash):",
        "if False:",
    ),
    Defence(
        "Z4",
        "a key has the published confirmation",
        "client/crypto/keys.py",
        "if not hmac.compare_digest(key_confirmation(key), published_confirmation):",
        "if False:",
    ),
    Defence(
        "Z4",
        "an identity is replaced without a key that was given false",
        "client/session.py",
        "            if not without_false:\n                raise\n",
        "            raise\n",
    ),
    Defence(
        "Z7",
        "the server makes what an erasure leaves itself",
        "vault/effects.py",
        "if (len(left), digest) != (said.length, said.after):",
        "if False:",
    ),
    Defence(
        "V3",
        "what was erased is remembered as erased",
        "protocol/ledger/data.py",
        "return replace(batch.with_blocks(emptied), erased=batch.erased | gone)",
        "return replace(batch.with_blocks(emptied), erased=gone)",
    ),
    Defence(
        "V3",
        "nothing is erased twice",
        "protocol/ledger/data.py",
        "if gone & batch.erased:",
        "if False:",
    ),
    Defence(
        "V3",
        "the server makes what an erasure leaves itself",
        "vault/effects.py",
        "if (len(left), digest) != (said.length, said.after):",
        "if False:",
    ),
    Defence(
        "V4",
        "acts come in the order of their numbers",
        "protocol/ledger/log.py",
        "if act.number != due:",
        "if act.number < 0:",
    ),
    Defence(
        "V4",
        "an act on keys has seen the last one",
        "protocol/ledger/log.py",
        "if row.names_head and cited.size <= settled.control_head:",
        "if False:",
    ),
    Defence(
        "V4",
        "a new act cites a checkpoint that is not old",
        "vault/landing.py",
        "if now - act.cited_time > LIMITS.citation_age_seconds:",
        "if False:",
    ),
    Defence(
        "V5",
        "nobody writes by an old head",
        "client/session.py",
        "        if age > most:\n            raise Stale(",
        "        if False:\n            raise Stale(",
    ),
    Defence(
        "V5",
        "a head of a time to come is none",
        "client/session.py",
        "        if age < 0:\n            # A time",
        "        if False:\n            # A time",
    ),
    Defence(
        "V5",
        "a tainted epoch takes nothing",
        "protocol/ledger/data.py",
        '    if epoch.tainted:\n        raise OutOfOrder(\n            f"a block under',
        '    if False:\n        raise OutOfOrder(\n            f"a block under',
    ),
    Defence(
        "V5",
        "what is staged under a key that was closed is sealed anew",
        "client/uploads.py",
        "there = manifest.batch_id in staged - state.batch_ids and all_open(state, addresses)",
        "there = manifest.batch_id in staged - state.batch_ids",
    ),
    Defence(
        "V7",
        "what an ended invite could open is tainted",
        "protocol/ledger/members.py",
        "return state.with_invite(replace(found, status=status)).tainted(carried)",
        "return state.with_invite(replace(found, status=status))",
    ),
    Defence(
        "V7",
        "an invite carries data only if the policy lets it",
        "protocol/ledger/members.py",
        "if not state.policy.invite_data:",
        "if False:",
    ),
    Defence(
        "V8",
        "a key is wrapped for exactly those who hold it",
        "protocol/ledger/sides.py",
        "if len(sent) != len(required) or found != wanted:",
        "if False:",
    ),
    Defence(
        "V10",
        "nothing is committed under an offer",
        "protocol/ledger/transitions.py",
        "Transition(acts.Commit,          _ADMINS, _OPEN,",
        "Transition(acts.Commit,          _ADMINS, _THAWED,",
    ),
    Defence(
        "V10",
        "no key is made under an offer",
        "protocol/ledger/transitions.py",
        "Transition(acts.CreateEpoch,     _KEYED,  _OPEN,",
        "Transition(acts.CreateEpoch,     _KEYED,  _THAWED,",
    ),
    Defence(
        "V10",
        "nothing is granted under an offer",
        "protocol/ledger/transitions.py",
        "Transition(acts.Grant,           _KEYED,  _OPEN,",
        "Transition(acts.Grant,           _KEYED,  _THAWED,",
    ),
    Defence(
        "V10",
        "an acceptance signs the replayed receipts",
        "protocol/ledger/handover.py",
        "_check_receipts(state, payload)\n",
        "pass\n",
    ),
    Defence(
        "V10",
        "what is accepted is what was verified",
        "client/handover.py",
        "if open_offer(session) != verified.offer:",
        "if False:",
    ),
    Defence(
        "W2",
        "a rejection taints what the buyer could open",
        "protocol/ledger/handover.py",
        "state.tainted(opened.addresses).with_member(",
        "state.with_member(",
    ),
    Defence(
        "W2",
        "what a rejection takes away counts as kept",
        "protocol/ledger/handover.py",
        "kept = buyer.kept | (opened.addresses - held(state, buyer.id))",
        "kept = buyer.kept",
    ),
    Defence(
        "W2",
        "an offer expires",
        "protocol/ledger/log.py",
        "if state.offer is not None and time > state.offer.expiry:",
        "if False:",
    ),
    Defence(
        "W3",
        "a removed admin's invites end",
        "protocol/ledger/members.py",
        "state = _without_invites(state, member.id).without_uploads(member.id)",
        "state = state.without_uploads(member.id)",
    ),
    Defence(
        "W3",
        "invites that carry a lost grant's data end",
        "protocol/ledger/members.py",
        "return _without_invites(_with_less(state, less), member.id, data_only=True)",
        "return _with_less(state, less)",
    ),
    Defence(
        "W4",
        "a role without data has no grants",
        "protocol/ledger/members.py",
        "rules = member.rules if payload.role in DATA_ROLES else ()",
        "rules = member.rules",
    ),
    Defence(
        "W4",
        "what a change of role takes away is tainted",
        "protocol/ledger/members.py",
        "return changed.tainted(_of_data(lost))",
        "return changed",
    ),
    Defence(
        "W4",
        "what a change of role takes away counts as kept",
        "protocol/ledger/members.py",
        "changed = changed.with_member(replace(member, kept=member.kept | lost))",
        "pass",
    ),
    Defence(
        "W5",
        "a block moves only from what it is",
        "protocol/ledger/data.py",
        "if ref.sha256 == move.before and ref.epoch < move.block.epoch:",
        "if ref.epoch < move.block.epoch:",
    ),
    Defence(
        "W5",
        "a taint drops what is half moved under it",
        "protocol/ledger/state.py",
        "lambda each: isinstance(each, PendingMoves) and not gone.isdisjoint(each.addresses)",
        "lambda each: False",
    ),
    Defence(
        "W10",
        "a removal lands whatever landed before",
        "protocol/ledger/transitions.py",
        "Transition(acts.Revoke,          _ADMINS, _LIVE,    True,  False,",
        "Transition(acts.Revoke,          _ADMINS, _LIVE,    True,  True, ",
    ),
    Defence(
        "W10",
        "an offer drops what is half committed",
        "protocol/ledger/handover.py",
        "return replace(state, offer=opened, pending={})",
        "return replace(state, offer=opened)",
    ),
    Defence(
        "S3",
        "a cited checkpoint is a prefix of the log",
        "protocol/ledger/log.py",
        "if cited.size > self.size or self.tree.root(cited.size) != cited.root:",
        "if False:",
    ),
    Defence(
        "S3",
        "a proof leads from the pin to the checkpoint",
        "client/trust.py",
        "        if pin is None:\n            return\n        proof",
        "        return\n        proof",
    ),
    Defence(
        "S4",
        "a checkpoint is fresh",
        "client/trust.py",
        "if abs(now - checkpoint.time) > LIMITS.checkpoint_age_seconds:",
        "if False:",
    ),
    Defence(
        "S5",
        "leaves that a checkpoint covers come",
        "client/trust.py",
        "                if not leaves:\n                    raise Rollback(",
        (
            "                if not leaves:\n"
            "                    break\n"
            "                    raise Rollback("
        ),
    ),
    Defence(
        "S6",
        "the replayed root is the checkpoint's",
        "client/trust.py",
        "if progress.ledger.tree.root(checkpoint.size) != checkpoint.root:",
        "if False:",
    ),
    Defence(
        "S10",
        "a batch that a removal overtook is taken back",
        "vault/staging.py",
        "            uploader(vault, keyid, upload)\n            for batch, one",
        "            for batch, one",
    ),
    Defence(
        "S10",
        "an answer under way ends with a removal",
        "vault/serving.py",
        "expect_served(vault.state, keyid, collection, ref)\n",
        "pass\n",
    ),
    Defence(
        "S10",
        "a removed member's act is refused",
        "protocol/ledger/log.py",
        "if not party.live and not former:",
        "if False:",
    ),
    Defence(
        "S11",
        "a removal taints what the member could open",
        "protocol/ledger/members.py",
        "return _without_head_signer(state, member.id).tainted(lost)",
        "return _without_head_signer(state, member.id)",
    ),
    Defence(
        "S11",
        "a removal taints what the member had kept",
        "protocol/ledger/members.py",
        "lost = held(state, member.id) | member.kept",
        "lost = held(state, member.id)",
    ),
    Defence(
        "H1",
        "a nonce is used once",
        "vault/auth.py",
        "if any(entry in seen for seen in self._seen.values()):",
        "if False:",
    ),
    Defence(
        "H1",
        "no request outlives a restart",
        "vault/auth.py",
        "self._forgotten = max(floor(started_at), horizon)",
        "self._forgotten = floor(started_at)",
    ),
    Defence(
        "H11",
        "a stranger costs a verification",
        "vault/auth.py",
        "head = verify_head(message, _NOBODYS_KEY if key is None else key)",
        "head = None if key is None else verify_head(message, key)",
    ),
    Defence(
        "D4",
        "requests have a rate",
        "vault/rates.py",
        "if bucket.tokens < cost:",
        "if False:",
    ),
    Defence(
        "D4",
        "leaves have an allowance",
        "vault/door.py",
        "self._allowance.spend(route.template, call.vault, whose, now)",
        "pass",
    ),
    Defence(
        "D4",
        "like lines of the log are counted",
        "vault/logs.py",
        "return count < self.repeats, left_out",
        "return True, left_out",
    ),
    Defence(
        "D5",
        "a body keeps up a pace",
        "vault/bodies.py",
        "return started + min(self.deadline_seconds, self.seconds_for(received))",
        "return started + self.deadline_seconds",
    ),
    Defence(
        "D5",
        "one vault does not have all places",
        "vault/places.py",
        "may = of_vault < self._free and of_member < PLACES_PER_MEMBER",
        "may = self._free > 0",
    ),
    Defence(
        "D5",
        "places go round",
        "vault/places.py",
        "following = min(able, key=self._order)  # of equals who came first",
        "following = able[0]",
    ),
    Defence(
        "D5",
        "a large act is read of those who have one to send",
        "vault/callers.py",
        "        if length > most:\n            raise LimitExceeded",
        "        if False:\n            raise LimitExceeded",
    ),
    Defence(
        "D5",
        "an idle connection is closed",
        "vault/listener.py",
        "keepalive_timeout=IDLE_SECONDS,",
        "keepalive_timeout=3600,",
    ),
    Defence(
        "D6",
        "a log is read up to a bound",
        "client/trust.py",
        "if new > self._most_leaves:",
        "if False:",
    ),
    Defence(
        "D6",
        "an answer has a cap",
        "client/transport.py",
        "if total > cap:",
        "if False:",
    ),
    Defence(
        "D6",
        "an answer has a deadline",
        "client/transport.py",
        "async with asyncio.timeout(WAIT_SECONDS + size / LEAST_RATE):",
        "async with asyncio.timeout(None):",
    ),
    Defence(
        "D9",
        "a catalog names fields of its class",
        "client/catalogs.py",
        "mine = 0 <= number < len(where.classes) and where.classes[number] is its_class",
        "mine = 0 <= number < len(where.classes)",
    ),
    Defence(
        "D9",
        "a person is named by who may name it",
        "client/catalogs.py",
        "by = givers.names(author, party) if isinstance(party, bytes) else None",
        "by = Giver.OWNER if isinstance(party, bytes) else None",
    ),
    Defence(
        "L6",
        "no document gets a name that is drawn as nothing",
        "client/documents/entries.py",
        "harmless = all(drawn(name)) and not name.isspace()",
        "harmless = True",
    ),
    Defence(
        "L6",
        "a document's name leads nowhere",
        "client/documents/entries.py",
        'flat = not set(name) & {"/", "\\\\"}',
        "flat = True",
    ),
    Defence(
        "L6",
        "no link is followed",
        "client/documents/local.py",
        "os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK",
        "os.O_CREAT | os.O_NONBLOCK",
    ),
    Defence(
        "M2",
        "what waits under a closed key goes",
        "vault/landing.py",
        "        if not await asyncio.to_thread(closes, before, after):\n            return ()",
        "        return ()",
    ),
    Defence(
        "R8",
        "nothing expires in a store that was not looked through",
        "vault/service.py",
        "        await self._soundness.expect_sound()\n        count =",
        "        count =",
    ),
    Defence(
        "R8",
        "nothing is swept in a store that was not looked through",
        "vault/service.py",
        "            await self._soundness.expect_sound()\n            while",
        "            while",
    ),
    Defence(
        "R8",
        "blocks are hashed",
        "vault/soundness.py",
        "if digest.digest() != place.digest:",
        "if False:",
    ),
    Defence(
        "R12",
        "a server catches up with its store",
        "vault/service.py",
        "        except SizeMoved:\n            self._shelf.forget(vault)\n        return",
        "        except SizeMoved:\n            raise\n        return",
    ),
    Defence(
        "R20",
        "a clock that was set right is believed",
        "vault/checkpoints.py",
        "if self._time - now > LIMITS.checkpoint_age_seconds:",
        "if False:",
    ),
)


def chosen(only: str, some: int | None, seed: str) -> list[Defence]:
    """Return the defences whose row or words have something in them, or some by a seed."""
    found = [each for each in DEFENCES if only in f"{each.row} {each.what}"]
    if some is None:
        return found
    return sorted(found, key=lambda each: sha256(f"{seed}|{each}".encode()).digest())[:some]


def noticed_by(defence: Defence) -> str | None:
    """Return which of its row's tests fails without it; None if they all pass, or never load it."""
    tests = [f"tests/{each}" for each in settling(defence.row)]
    try:
        played = play(tests, defence.mutant)
    except CannotPlay:
        return None
    if played.verdict is Verdict.SURVIVED:
        return None
    return played.by or "one that takes too long"


@click.command()
@click.option("--only", default="", help="Take out those whose row or words have this in it.")
@click.option("--some", type=int, help="Take out so many, chosen by the seed.")
@click.option("--seed", default="0", show_default=True, help="What chooses.")
def main(only: str, some: int | None, seed: str) -> None:
    """Take each defence out, one at a time; exit with 1 where the row's tests do not notice."""
    preload()
    missed = 0
    for defence in chosen(only, some, seed):
        by = noticed_by(defence)
        missed += by is None
        click.echo(f"{defence.row:4} {defence.what}: noticed by {by or 'NOBODY'}")
    click.echo(f"{missed} not noticed")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
