"""The log in words, for people who read it (SPEC section 8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from client.catalogs import People, name_of, read_people
from client.observing import Observed, may_observe, observations
from client.people import collection_labels, rule_text
from client.results.log import OBSERVATION, LogEntry
from client.session import Session
from protocol import acts
from protocol.acts import Act
from protocol.blocks import PEOPLE_COLLECTION


async def log_entries(session: Session) -> tuple[LogEntry, ...]:
    """Describe every leaf of the verified log; names as far as this member may know them.

    Of an observation it is told who read what and when, where this member may know that, and
    why it is `untrue`, where the log rules it out.

    Raises: as `client.observing.observations`.
    """
    served = iter(await observations(session) if may_observe(session) else ())
    people = await read_people(session)
    labels = await collection_labels(session)
    entries = []
    for index, act in enumerate(session.believed.acts):
        if act is None:
            entries.append(_observed(session, index, next(served, None), people, labels))
            continue
        author = act.author.hex()
        name = name_of(session.state, people, act.author)
        detail = _detail(session, act, people, labels)
        entries.append(LogEntry(index, act.kind, author, name, detail))
    return tuple(entries)


def _observed(
    session: Session,
    index: int,
    seen: Observed | None,
    people: People,
    labels: Mapping[bytes, str],
) -> LogEntry:
    if seen is None:
        return LogEntry(index, OBSERVATION, None, None, {})
    body = seen.body
    where = "names of people" if body.collection == PEOPLE_COLLECTION else body.collection.hex()[:8]
    detail = {
        "who": name_of(session.state, people, body.member) or body.member.hex()[:16],
        "collection": labels.get(body.collection, where),
        "blocks": len(body.fields) * len(body.batches),
        "time": body.time,
    }
    if seen.untrue is not None:
        detail["untrue"] = seen.untrue
    return LogEntry(index, OBSERVATION, None, None, detail)


def _detail(
    session: Session, act: Act, people: People, labels: Mapping[bytes, str]
) -> dict[str, Any]:
    def who(party: bytes) -> str:
        return name_of(session.state, people, party) or party.hex()[:16]

    def where(collection: bytes) -> str:
        if collection == PEOPLE_COLLECTION:
            return "names of people"
        return labels.get(collection, collection.hex()[:8])

    payload = act.payload
    match payload:
        case acts.Invite():
            rules = [rule_text(rule, dict(labels)) for rule in payload.rules]
            invite = payload.card.identity.member_id
            return {"who": who(invite), "role": payload.role, "plans": rules}
        case acts.WithdrawInvite():
            return {"who": who(payload.invite)}
        case acts.Join():
            return {"who": who(payload.card.identity.member_id)}
        case acts.Confirm():
            return {"who": who(payload.member)}
        case acts.ChangeRole():
            return {"who": who(payload.member), "role": payload.role}
        case acts.Revoke():
            return {"who": who(payload.member), "reason": payload.reason}
        case acts.DefineCollection():
            return {"collection": where(payload.collection), "fields": len(payload.classes)}
        case acts.RetireCollection():
            return {"collection": where(payload.collection), "reason": payload.reason}
        case acts.CreateEpoch():
            return {"fields": len(payload.epochs)}
        case acts.RetireEpoch():
            return {"epochs": len(payload.epochs)}
        case acts.Grant() | acts.WithdrawGrant():
            rules = [rule_text(rule, dict(labels)) for rule in payload.rules]
            return {"who": who(payload.member), "rules": rules}
        case acts.Commit():
            return {
                "collection": where(payload.collection),
                "batches": len(payload.manifests),
                "records": sum(m.records for m in payload.manifests if not m.is_catalog),
            }
        case acts.Erase():
            return {
                "collection": where(payload.collection),
                "records": sum(len(each.positions) for each in payload.erasures),
                "reason": payload.reason,
            }
        case acts.Replace():
            return {
                "collection": where(payload.collection),
                "erased": sum(len(each.positions) for each in payload.erasures),
                "records": sum(m.records for m in payload.manifests if not m.is_catalog),
                "reason": payload.reason,
            }
        case acts.Reencrypt():
            return {"collection": where(payload.collection), "blocks": len(payload.moves)}
        case acts.Offer():
            return {"to": who(payload.buyer), "expires": payload.expiry}
        case acts.Accept():
            records = sum(receipt.records for receipt in payload.receipts)
            return {"offer": payload.offer, "records": records}
        case acts.Reject():
            return {"offer": payload.offer, "reason": payload.reason}
        case acts.RotateIdentity():
            return {
                "to": payload.card.identity.member_id.hex()[:16],
                "rebuilt": payload.dealing is not None,
            }
        case acts.Freeze() | acts.Destroy():
            return {"reason": payload.reason}
        case acts.ChangePolicy():
            return {"head_signers": [who(each) for each in payload.policy.head_signers]}
        case acts.Custodians():
            dealing = payload.dealing
            if dealing is None:
                return {"custodians": []}
            named = [who(each) for each in dealing.custodians]
            return {"custodians": named, "threshold": dealing.threshold}
        case acts.Release():
            return {"to": payload.card.identity.member_id.hex()[:16]}
        case acts.Attest():
            return {"statement": payload.statement}
        case _:
            return {}
