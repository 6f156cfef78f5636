"""A command line whose vault only writes down what it is asked."""

from __future__ import annotations

import io
import shlex
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from client.cli import invocation, main
from client.crypto.secrets import Seed
from client.kits import Backup, Kit
from client.results.data import (
    CollectionInfo,
    EraseResult,
    FieldInfo,
    FieldsOf,
    GivenUp,
    PlannedField,
    ReadResult,
    UploadPlan,
    UploadResult,
)
from client.results.documents import (
    AttachResult,
    DocumentInfo,
    GetAllResult,
    GetResult,
    NotGot,
    RemoveResult,
)
from client.results.keys import (
    AcceptResult,
    OfferResult,
    ReencryptResult,
    RevokePlan,
    RevokeResult,
    RotateIdentityResult,
    RotatePlan,
    RotateResult,
)
from client.results.log import ActResult, AttestResult, HeartbeatResult, LogEntry, LogResult
from client.results.people import ConfirmResult, InviteResult, JoinResult, MemberInfo
from client.results.progress import Progress
from client.results.recovery import CustodianInfo, RecoveryStatus, RescueRequest, RescueResult
from client.results.vaults import NewKeys, OfferInfo, PolicyInfo, VaultInfo, VaultStatus, Way
from protocol.blocks import FieldClass

WORDS = "abandon ability able about above absent absorb abstract absurd abuse access accident"
HOSTILE = "\x1b[2J\u202eAnn\n"
SHOWN = "\\x1b[2J\\u202eAnn\\n"
ID = "ab" * 32
GENERAL, SENSITIVE, CORE = FieldClass.GENERAL, FieldClass.SENSITIVE, FieldClass.CORE
LINK = f"sealroom://host:1/{ID}#{'A' * 43}"

ACT = ActResult("grant", 7, ID, HOSTILE)
CONFIRMED = ConfirmResult("confirm", 7, ID, HOSTILE, ("core", HOSTILE), HOSTILE)
SIGNED = HeartbeatResult("heartbeat", 7, ID)
SOME = (
    FieldsOf(HOSTILE, (HOSTILE, "iban")),
    FieldsOf("orders", ("iban",)),
    FieldsOf(None, ("names of people",)),
)
ROTATED = RotateResult(8, SOME, 1_234, None, 0.5)
MOVED = replace(ROTATED, reencrypted=ReencryptResult(30, 4_000, 9_999, 3, 2, 5))
ROTATE_PLAN = RotatePlan(SOME, (HOSTILE, "Bo"), 30, 4_000, 9_999, 90.0)
MEMBERS = (
    MemberInfo(ID, HOSTILE, "owner", "confirmed", False, (), (), WORDS, True),
    MemberInfo("cd" * 32, None, "bidder", "unconfirmed", True, (HOSTILE,), ("core",), None, False),
    MemberInfo("ef" * 32, "C", "admin", "confirmed", False, (), (), WORDS, False, HOSTILE),
)
NEWCOMER = MemberInfo(
    ID, HOSTILE, "bidder", "unconfirmed", False, (), ("general", "core"), WORDS, False,
    planned_by=HOSTILE, beyond=("core",),
)  # fmt: skip
OFFER = OfferInfo(3, ID, HOSTILE, 1_700_000_000, False)
NOTHING_WAITS = NewKeys(0, 0, None)
STATUS = VaultStatus(
    ID, HOSTILE, "https://h", ID, "owner", "confirmed", 1_234, ID, 61, 2, 1, 3, 1_000_000, OFFER, 4,
    NewKeys(4, 4, Way.ROTATE), "open", 7_200, 604_800,
)  # fmt: skip
FIELDS = (
    FieldInfo(0, HOSTILE, "string", "general", True, 1, False),
    FieldInfo(1, None, None, "core", False, 2, True),
)
COLLECTION = CollectionInfo("c0" * 16, HOSTILE, HOSTILE, 50, 2, 123_456, ID, FIELDS)
TABLE = pa.table({HOSTILE: [HOSTILE, None], "n": [1, 2]})
UPLOADED = UploadResult("c0" * 16, HOSTILE, 50, 2, 100, 1, 9_999, 3, 1.0, (HOSTILE,))
GIVEN_UP = GivenUp("c0" * 16, 2, None)
PLANNED = UploadPlan("X", 1_204, (), 50, 7, 3, 1_194, 1, 9_999, 0.5, 90.0, (HOSTILE,))
READ = ReadResult(HOSTILE, 50, (HOSTILE, "b"), 100, 9_999, 1.0, HOSTILE)
DOCUMENT = DocumentInfo(
    "d0" * 16, HOSTILE, "core", 20_000, HOSTILE, ID, True, "whole", 41_360, ID, HOSTILE, 9
)
LOST = DocumentInfo("d1" * 16, None, "general", None, None, None, True, "damaged", 0, ID, None, 9)
CLOSED = replace(DOCUMENT, readable=False, author_name=None)
ATTACHED = AttachResult(DOCUMENT, False, 3, 1.0)
FETCHED = GetResult("d0" * 16, HOSTILE, HOSTILE, 20_000, ID, 8_000, 1.0)
NOT_GOT = NotGot("d1" * 16, HOSTILE, ID, HOSTILE, "input", HOSTILE, HOSTILE, False)
REMOVED = RemoveResult((9, 11), "d0" * 16, HOSTILE, 0.5)
INVITE = InviteResult(LINK, ID, HOSTILE, "bidder", ("general",), 1_700_000_000)
JOINED = JoinResult(ID, HOSTILE, ID, ID, "bidder", "unconfirmed", WORDS, True, 61)
REVOKED = RevokeResult(9, ID, HOSTILE, SOME, 2, 30, (HOSTILE,), ROTATED, SOME[:1], INVITE)
REVOKE_PLAN = RevokePlan(ID, HOSTILE, SOME[:2], 2, 30, (HOSTILE,), SOME)
ERASED = EraseResult((9, 11), HOSTILE, 1_204, 3, 0.5)
POLICY = PolicyInfo(30.0, 14.0, 0.5, False, (ID,))
RECOVERY = RecoveryStatus(
    9,
    2,
    (
        CustodianInfo(ID, HOSTILE, True, 1),
        CustodianInfo("cd" * 32, None, False, 0),
    ),
    True,
    True,
)
MOVED_IDENTITY = RotateIdentityResult(9, ID, "cd" * 32, "confirmed", None, ROTATED, (HOSTILE,), 0.5)
RESCUE = RescueRequest("sealroom-rescue:AAAA", ID, "cd" * 32)
RESCUED = RescueResult(9, ID, "cd" * 32, (ID,), (HOSTILE,), (HOSTILE,))
ATTESTED = AttestResult("keys-destroyed", 9, ID, HOSTILE)
OFFERED = OfferResult(9, ID, 1_234, 1_700_000_000, 1.0)
ACCEPTED = AcceptResult(9, 12, 1, 50, 100, 9_999, 1.0)
LOG = LogResult(
    ID, 2, ID, f"o\n2\n{HOSTILE}", 61, 2,
    (
        LogEntry(0, "offer", ID, HOSTILE, {"to": HOSTILE, "expires": 1_700_000_000}),
        LogEntry(1, "grant", ID, None, {"rules": ["core", HOSTILE], "n": 0, "who": ""}),
        LogEntry(2, "observation", None, None, {}),
    ),
)  # fmt: skip
INFO = VaultInfo(ID, HOSTILE, "https://h:1", "00" * 32, "identity-1", True, 1_700_000_000)

ANSWERS: Mapping[str, Any] = {
    "status": STATUS,
    "members": MEMBERS,
    "collections": (COLLECTION, CollectionInfo("c1" * 16, None, None, 0, 0, 0, ID, ())),
    "collection": COLLECTION,
    "read": TABLE,
    "export": READ,
    "upload": UPLOADED,
    "plan_upload": PLANNED,
    "attach": ATTACHED,
    "documents": (DOCUMENT, LOST, CLOSED),
    "get_document": FETCHED,
    "get_documents": GetAllResult((FETCHED,), ()),
    "remove_document": REMOVED,
    "invite": INVITE,
    "confirm": CONFIRMED,
    "persons": MEMBERS[:1],
    "words": WORDS,
    "grant": ACT,
    "withdraw_grant": ACT,
    "withdraw_invite": ACT,
    "change_role": ACT,
    "revoke": REVOKED,
    "plan_revocation": REVOKE_PLAN,
    "rotate": ROTATED,
    "plan_rotation": ROTATE_PLAN,
    "takeover": MOVED,
    "erase": ERASED,
    "erase_names": ERASED,
    "retire_collection": ACT,
    "give_up": GIVEN_UP,
    "freeze": ACT,
    "unfreeze": ACT,
    "heartbeat": SIGNED,
    "destroy": ACT,
    "policy": POLICY,
    "change_policy": POLICY,
    "set_up_recovery": RECOVERY,
    "custodian_words": {"Ann": WORDS, "Bo": WORDS},
    "end_recovery": ACT,
    "recovery_status": RECOVERY,
    "release_share": ACT,
    "request_words": WORDS,
    "offer": OFFERED,
    "accept": ACCEPTED,
    "reject": ACT,
    "log": LOG,
    "create_vault": INFO,
    "join": JOINED,
    "rotate_identity": MOVED_IDENTITY,
    "backup": Backup(Kit(bytes(32), "https://h:1", None, Seed(bytes(32))), None),
    "restore": INFO,
    "attest_destroyed": ATTESTED,
    "rescue_request": RESCUE,
    "rescue_words": WORDS,
    "rebuild": RESCUED,
}

Call = tuple[str, tuple[Any, ...], dict[str, Any]]


class FakeVault:
    """Answers every verb as it was told to, and remembers the question."""

    vault_id = ID

    def __init__(self, world: World) -> None:
        self._world = world

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        async def asked(*arguments: Any, **named: Any) -> Any:
            return self._world.answer(verb, arguments, named)

        return asked

    async def plan_upload(self, source: Any, *, rehearse: bool = True, **named: Any) -> Any:
        """Look at the table that was given, as the real one does before anybody is asked."""
        looked = self._world.answer("plan_upload", (source,), {"rehearse": rehearse, **named})
        classes, default = named["classes"], named["default"]
        default = SENSITIVE if default is None else default
        fields = tuple(
            PlannedField(column.name, column.type, classes.get(column.name, default).name.lower())
            for column in source.columns
        )
        return replace(looked, fields=fields)

    async def new_keys(self) -> NewKeys:
        """Return what every command asks when it is done."""
        return self._world.waiting

    async def close(self) -> None:
        self._world.closed += 1

    async def __aenter__(self) -> FakeVault:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class World:
    """One command line: its home, what the vault answers, and what it was asked."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.answers: dict[str, Any] = dict(ANSWERS)
        self.calls: list[Call] = []
        self.closed = 0
        self.opened: list[str | None] = []
        self.unlocked = 0
        self.waiting = NOTHING_WAITS
        (directory / "keyring").write_bytes(b"")

    def run(self, *arguments: str) -> int:
        return main.run(["--home", str(self.directory), *arguments], make_home=self.home)

    def answer(self, verb: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        show = named.pop("on_progress", None)
        if show is not None:
            show(Progress("working", 1, 2, "records"))
        self.calls.append((verb, arguments, named))
        found = self.answers[verb]
        if callable(found):
            found = found()
        if isinstance(found, BaseException):
            raise found
        return found

    # --- what a home has

    def home(self, directory: Path, passphrase: Callable[[], str]) -> Any:
        assert directory == self.directory
        self.passphrase = passphrase
        return self

    @property
    def keyring_path(self) -> Path:
        return self.directory / "keyring"

    @property
    def keyring(self) -> None:
        self.unlocked += 1

    def vault(self, reference: str | None) -> FakeVault:
        self.opened.append(reference)
        return FakeVault(self)

    def vaults(self) -> tuple[VaultInfo, ...]:
        return (INFO,)

    async def create_vault(self, *arguments: Any, **named: Any) -> FakeVault:
        self.answer("create_vault", arguments, named)
        return FakeVault(self)

    async def join(self, *arguments: Any, **named: Any) -> tuple[FakeVault, Any]:
        return FakeVault(self), self.answer("join", arguments, named)

    async def rotate_identity(self, vault: FakeVault, **named: Any) -> Any:
        return self.answer("rotate_identity", (), named)

    async def backup(self, vault: FakeVault, path: Path) -> Any:
        return self.answer("backup", (path,), {})

    async def restore(self, *arguments: Any, **named: Any) -> FakeVault:
        self.answer("restore", arguments, named)
        return FakeVault(self)

    async def attest_destroyed(self, vault: FakeVault) -> Any:
        return self.answer("attest_destroyed", (), {})

    def rescue_request(self, *arguments: Any) -> Any:
        return self.answer("rescue_request", arguments, {})

    def rescue_words(self, *arguments: Any) -> Any:
        return self.answer("rescue_words", arguments, {})

    async def rebuild(self, reference: str | None) -> tuple[FakeVault, Any]:
        return FakeVault(self), self.answer("rebuild", (reference,), {})


def made_world(directory: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a world in a folder with a table and a request, in a script without a person."""
    monkeypatch.setenv("SEALROOM_PASSPHRASE", "correct horse")
    monkeypatch.setattr(invocation, "somebody_there", lambda: False)
    monkeypatch.chdir(directory)
    (directory / "t.csv").write_text("a\n1\n")
    (directory / "request.txt").write_text("sealroom-rescue:AAAA")
    return World(directory)


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    """Put a person there, who types this."""
    monkeypatch.setattr(invocation, "somebody_there", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))


def split(command: str) -> list[str]:
    return shlex.split(command)


def no_raw_controls(text: str) -> bool:
    return {each for each in text if unicodedata.category(each) in ("Cc", "Cf")} <= {"\n"}
