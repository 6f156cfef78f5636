"""The log in words, for people who read it (SPEC section 8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from client.catalogs import read_people
from client.membership import collection_labels, rule_text
from client.results import LogEntry
from client.session import Session
from protocol import acts
from protocol.acts import Act


async def log_entries(session: Session) -> tuple[LogEntry, ...]:
    """Describe every leaf of the verified log; names as far as this member may know them."""
    names = (await read_people(session)).names
    labels = await collection_labels(session)
    entries = []
    for index, act in enumerate(session.believed.acts):
        if act is None:
            entries.append(LogEntry(index, "observation", None, None, {}))
            continue
        author = act.author.hex()
        name = _name(session, names, act.author)
        detail = _detail(session, act, names, labels)
        entries.append(LogEntry(index, act.kind, author, name, detail))
    return tuple(entries)


def _name(session: Session, names: Mapping[bytes, str], party: bytes) -> str | None:
    member = session.state.members.get(party)
    if party in names:
        return names[party]
    return names.get(member.invite) if member is not None and member.invite else None


def _detail(
    session: Session, act: Act, names: Mapping[bytes, str], labels: Mapping[bytes, str]
) -> dict[str, Any]:
    def who(party: bytes) -> str:
        return _name(session, names, party) or party.hex()[:16]

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
            return {
                "collection": labels.get(payload.collection, payload.collection.hex()[:8]),
                "fields": len(payload.classes),
            }
        case acts.CreateEpoch():
            return {"fields": len(payload.epochs)}
        case acts.Grant() | acts.WithdrawGrant():
            rules = [rule_text(rule, dict(labels)) for rule in payload.rules]
            return {"who": who(payload.member), "rules": rules}
        case acts.Commit():
            return {
                "collection": labels.get(payload.collection, "names of people"),
                "batches": len(payload.manifests),
                "records": sum(m.records for m in payload.manifests if not m.is_catalog),
            }
        case acts.Offer():
            return {"to": who(payload.buyer), "expires": payload.expiry}
        case acts.Accept():
            records = sum(receipt.records for receipt in payload.receipts)
            return {"offer": payload.offer, "records": records}
        case acts.Reject():
            return {"offer": payload.offer, "reason": payload.reason}
        case _:
            return {}
