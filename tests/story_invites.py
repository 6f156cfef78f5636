"""A vault whose policy lets invites carry data: what the end of one taints."""

from __future__ import annotations

from dataclasses import replace

from client.crypto.identity import Identity
from client.crypto.wraps import NewEpoch, create_epoch
from protocol import acts
from protocol.acts import Role
from protocol.blocks import Address, FieldClass, Manifest
from protocol.encoding import Value, encode
from tests.fixed_draws import COLLECTION, Draws
from tests.story import (
    CORE,
    GENERAL,
    NAMES_0,
    NAMES_2,
    PEOPLE,
    Story,
    commit,
    everywhere,
    unseen,
)
from tests.world import joining


def carrying(draws: Draws) -> Story:
    """Tell of a vault whose policy lets invites carry data, and what the end of one taints."""
    story = Story(draws, replace(acts.DEFAULT_POLICY, invite_data=True))
    _two_epochs_at_once(story)
    _names_of_fields(story)
    _an_admin_of_two_classes(story)
    _withdrawn(story)
    _another_role(story)
    _used(story)
    return story


def _two_epochs_at_once(story: Story) -> None:
    owner = story.people_of["owner"]
    story.step("a key for the names of people", owner, **story.next_epochs(owner, PEOPLE))
    define = acts.DefineCollection(COLLECTION, (GENERAL, CORE))
    story.step("a collection of two fields", owner, define)

    def created(*epochs: int) -> dict[Address, NewEpoch]:
        addresses = [Address(COLLECTION, 0, each) for each in epochs]
        return {each: create_epoch(owner, story.vault_id, each) for each in addresses}

    gap = acts.CreateEpoch(tuple(new.definition for new in created(1, 3).values()))
    story.refuse("an-epoch-skipped-within-an-act", owner, gap, "out_of_order")
    made = created(1, 2)
    payload = acts.CreateEpoch(tuple(new.definition for new in made.values()))
    story.step("two epochs of one field in one act", owner, payload, created=made)
    rest = [(COLLECTION, number) for number in (1, NAMES_0, NAMES_2)]
    story.step("keys for the rest", owner, **story.next_epochs(owner, *rest))


def _names_of_fields(story: Story) -> None:
    owner = story.people_of["owner"]
    rows: list[list[Value]] = [[0, "city", "string"], [1, "iban", "string"]]
    named = [
        story.sealed(owner, COLLECTION, {number: [encode({"fields": [row]})]})
        for number, row in zip((NAMES_0, NAMES_2), rows, strict=True)
    ]
    story.step("the fields' names", owner, commit("names", 0, True, *named))


def _an_admin_of_two_classes(story: Story) -> None:
    owner, admin = story.people_of["owner"], story.people_of["admin"]
    rules = (everywhere(GENERAL), everywhere(CORE))
    invite, payload = story.invited("admin", owner, Role.ADMIN, rules)
    story.step("an invite for an admin", owner, payload, readers=(invite,))
    story.step("the admin joins", invite, joining(admin, story.vault_id, invite), readers=(admin,))
    story.step("the admin is confirmed", owner, acts.Confirm(admin.member_id), readers=(admin,))


def _core_for_whoever_has_the_link(story: Story, name: str, inviter: Identity) -> Identity:
    core = (everywhere(CORE),)
    invite, payload = story.invited(name, inviter, Role.BIDDER, core, data=True)
    story.step(f"an invite that carries core data: {name}", inviter, payload, readers=(invite,))
    return invite


def _withdrawn(story: Story) -> None:
    owner, admin = story.people_of["owner"], story.people_of["admin"]
    sensitive = (everywhere(FieldClass.SENSITIVE),)
    beyond = story.invited("beyond", admin, Role.BIDDER, sensitive, data=True)[1]
    story.refuse("an-invite-with-data-beyond-its-maker-s", admin, beyond, "not_authorised")
    invite, payload = story.invited("own key", owner, Role.BIDDER)
    own = replace(payload, access_key=invite.public.signing_key)
    story.refuse("an-access-key-that-is-its-invite-s-own-key", owner, own, "conflict")
    member = replace(payload, access_key=admin.public.signing_key)
    story.refuse("an-access-key-that-is-a-member-s-key", owner, member, "conflict")
    lent = _core_for_whoever_has_the_link(story, "one", admin)
    sealed = unseen(story, owner)
    withdraw = acts.WithdrawGrant(admin.member_id, (everywhere(GENERAL),))
    story.step("the admin loses the general fields, not the core ones", owner, withdraw)
    join = joining(story.people_of["bidder"], story.vault_id, lent)
    story.refuse("a-join-with-an-invite-that-is-void", lent, join, "not_authorised")
    _tainted_core(story, "withdrawal", sealed)


def _another_role(story: Story) -> None:
    owner, admin = story.people_of["owner"], story.people_of["admin"]
    _core_for_whoever_has_the_link(story, "two", admin)
    sealed = unseen(story, owner)
    bidder = acts.ChangeRole(admin.member_id, Role.BIDDER)
    story.step("the admin becomes a bidder, and keeps its core fields", owner, bidder)
    _tainted_core(story, "change-of-role", sealed)


def _used(story: Story) -> None:
    owner, bidder = story.people_of["owner"], story.people_of["bidder"]
    lent = _core_for_whoever_has_the_link(story, "three", owner)
    sealed = unseen(story, owner)
    join = joining(bidder, story.vault_id, lent)
    story.step("the bidder joins", lent, join, readers=(bidder,))
    _tainted_core(story, "join", sealed)


def _tainted_core(story: Story, what: str, sealed: Manifest) -> None:
    """Refuse records under the core epoch alone, then commit the same under the next one."""
    owner, admin = story.people_of["owner"], story.people_of["admin"]
    general, core = (story.state.newest(COLLECTION, number) for number in (0, 1))
    assert general is not None
    assert core is not None
    assert core.tainted
    if general.tainted:
        made = story.next_epochs(owner, (COLLECTION, 0))
        story.step(f"the next general key, after the {what}", owner, **made)
        sealed = unseen(story, owner)
    story.refuse(
        f"records-after-a-{what}-ended-an-invite", owner, commit(what, 0, True, sealed),
        "out_of_order",
    )  # fmt: skip
    made = story.next_epochs(owner, (COLLECTION, 1))
    story.step(f"the next core key, after the {what}", owner, **made, readers=(admin,))
    records = story.sealed(owner, COLLECTION, {0: [b"Oslo"], 1: [b"NO93"]})
    story.step(f"records, after the {what}", owner, commit(what, 0, True, records))
