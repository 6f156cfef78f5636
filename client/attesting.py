"""Signing a statement, also as somebody who may not see the log any more (SPEC section 9.8)."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from client.errors import Refused
from client.session import Session
from protocol import acts
from protocol.acts import Act, Citation, Statement, parse_envelope
from protocol.api import SubmitAct, Submitted
from protocol.checkpoint import Checkpoint, parse_note
from protocol.errors import Fork, IntegrityError, MalformedMessage, Rollback, StaleAct
from protocol.labels import Label
from protocol.ledger import act_leaf
from protocol.merkle import leaf_hash, verify_consistency, verify_inclusion
from protocol.wire import Envelope, pae, to_bytes


@dataclass(frozen=True, slots=True)
class Proof:
    """That an act is in a vault's log: anybody can check it with the server's key alone."""

    vault_id: bytes
    server_key: bytes
    envelope: bytes
    index: int
    checkpoint: Checkpoint
    inclusion: tuple[bytes, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it in texts, for a file."""
        return {
            "vault_id": self.vault_id.hex(),
            "server_key": self.server_key.hex(),
            "act": base64.b64encode(self.envelope).decode(),
            "index": self.index,
            "checkpoint": self.checkpoint.note().decode(),
            "inclusion": [each.hex() for each in self.inclusion],
        }


async def attest(session: Session, statement: Statement) -> Proof:
    """Sign a statement, and return the proof that the log has it.

    The envelope is kept before it is sent, and sent again in the same bytes until it is proved.

    Raises:
        Refused: it was made before, by another home of this member.
        Rollback, IntegrityError, Fork: the server says that it landed, and does not prove it.
    """
    envelope, answer = await _submitted(session, statement)
    _, act = parse_envelope(envelope)
    checkpoint = parse_note(answer.checkpoint, session.vault_id, session.state.server_key)
    leaf = leaf_hash(act_leaf(envelope))
    if answer.receipt is None:  # a live member's, of a vault that was destroyed
        await session.sync()
        tree, pin = session.believed.ledger.tree, session.believed.pin
        if answer.index >= tree.size or tree.leaf(answer.index) != leaf:
            raise Rollback("the server says that the statement landed, and it is not in the log")
        inclusion = tree.inclusion_proof(answer.index, pin.size)
        return _proof(session, envelope, answer.index, pin, inclusion)
    assert act.cited is not None
    try:
        verify_inclusion(
            leaf, answer.index, checkpoint.size, answer.receipt.inclusion, checkpoint.root
        )
        verify_consistency(
            act.cited.size,
            act.cited.root,
            checkpoint.size,
            checkpoint.root,
            answer.receipt.consistency,
        )
    except (IntegrityError, MalformedMessage) as error:
        raise Fork(
            "the server does not prove that the statement is in the log that you knew",
            pinned=session.believed.pin.note(),
            shown=checkpoint.note(),
            hint="Your keys are kept. Compare checkpoints with another member.",
        ) from error
    return _proof(session, envelope, answer.index, checkpoint, answer.receipt.inclusion)


async def _submitted(session: Session, statement: Statement) -> tuple[bytes, Submitted]:
    earlier = session.store.said(statement.value)
    if earlier is not None:
        try:
            return earlier, await session.transport.submit(session.vault_id, SubmitAct(earlier, ()))
        except Refused as refused:
            # It never landed, and what it cites is too old by now: say it anew.
            if refused.refusal != StaleAct.code:
                raise
    envelope = _signed(session, statement)
    session.store.keep_said(statement.value, envelope)
    return envelope, await session.transport.submit(session.vault_id, SubmitAct(envelope, ()))


def _signed(session: Session, statement: Statement) -> bytes:
    me, state = session.identity, session.state
    if (me.member_id, statement) in state.attested:
        raise Refused(
            "that was attested before, from another home",
            code="out_of_order",
            hint="'sealroom log' shows it. Nothing is left to say.",
        )
    cited = Citation.of(session.believed.pin)
    number = state.numbers.get(me.member_id, 0)
    act = Act(session.vault_id, me.member_id, number, cited, acts.Attest(statement), None)
    body = act.body()
    return to_bytes(Envelope(Label.ACT, body, me.sign(pae(Label.ACT, body))))


def _proof(
    session: Session,
    envelope: bytes,
    index: int,
    checkpoint: Checkpoint,
    inclusion: tuple[bytes, ...],
) -> Proof:
    return Proof(session.vault_id, session.state.server_key, envelope, index, checkpoint, inclusion)
