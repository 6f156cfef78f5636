"""Every lie of a server, told to the commands that can meet it (THREATS: K, C, S, V4, H7).

Each cell of the table is one run of the real command line against a server that tells one lie. It
has to end with the error that names what happened, and to leave no trace: of the home, its keyring
and its store, and the folder for files, every byte as it was, nothing sent, nothing on the screen.
That the same commands succeed when nobody lies is shown below, for each of them.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest

from client.cli.exits import FAILED, REFUSED, UNTRUE
from client.tables import open_sink
from client.tables.sink import Sink
from protocol.checkpoint import parse_note
from protocol.errors import (
    Fork,
    IntegrityError,
    ManifestMismatch,
    NotFound,
    SealroomError,
    Unsupported,
)
from tests.answer_lies import (
    ACT_LIES,
    DATA_LIES,
    INFO_LIES,
    NAME_LIES,
    READ_LIES,
    OtherBlocks,
    SaysFrozen,
    lies_about_data,
)
from tests.commands_lied_to import COMMANDS, CREATE, OFFERED, SHOWING, WRITING
from tests.liars import Lie
from tests.lied_to import BARE, BEHIND, CURRENT, ORDERS, ROWS, Stage, Told, a_stage
from tests.log_lies import LIES

pytestmark = [
    pytest.mark.threat(each)
    for each in (
        "K1", "K2", "K3", "K4", "K8", "K10", "K15", "K16", "C1", "C2", "C3", "C4", "C5", "C6",
        "C11", "S1", "S2", "S3", "S4", "S5", "S6", "S9", "V4", "H7", "W1", "Z1",
    )
]  # fmt: skip

SECURITY: Final = Path(__file__).resolve().parent.parent / "SECURITY.md"
EXITS: Final = {NotFound: REFUSED, Unsupported: FAILED}

SOME: Final = ("read --out .csv", "upload", "join")
"""One that writes a file, one that sends, and the first contact."""

READ_BY_ALL: Final = ("the state of long ago", "another history that is longer", "no keys at all")
"""What is told to every command there is: the past, another present, keys that are missing."""

ACTING: Final = [name for name in WRITING if name != "unfreeze"]
"""What sends an act: but that nothing is frozen."""

NAMING: Final = ("members", "collection list", "read", "read --out .csv", "upload", "grant")

OWN: Final = {
    "upload": "uploads",
    "rotate --reencrypt": "rotations",
    "confirm": "compared",
    "handover offer": "compared",
    "identity rotate": "bo/keyring",
    "attest": "said",
}
"""What a command keeps before it asks the server: a journal, a seed, that words were compared."""

NEWCOMER: Final[dict[str, type[SealroomError]]] = {
    # Who knows nothing yet cannot tell an old log from a young one: the link's invite is not there.
    "the state before the newest act known": NotFound,
    "the state of long ago": NotFound,
    "another history of the same length": NotFound,
    "another history that is longer": NotFound,
    "a root that is not the leaves'": IntegrityError,
}
NOT_AT_FIRST: Final = {
    # It has no pin that a proof could lead from, and no page that it did not ask for.
    *(name for name in LIES if "consistency proof" in name),
    "a page from elsewhere",
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with a_stage(tmp_path_factory.mktemp("stage")) as made:
        yield made


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with a_stage(tmp_path_factory.mktemp("offered"), offered=True) as made:
        yield made


def expect_refused(told: Told, error: type[SealroomError], *, keeps: str = "") -> None:
    """Demand this error, and no other trace of the command; but for lines that it `keeps`."""
    assert told.error == error.code, (told.err, told.out)
    assert told.code == EXITS.get(error, UNTRUE)
    assert list(json.loads(told.out)) == ["error"]
    assert "canary" not in told.out + told.err
    assert [each for each in told.changed if not keeps or not each.startswith(keeps)] == []


# --- the log


def met(name: str) -> list[str]:
    every = [*COMMANDS] if name in READ_BY_ALL else [*SOME]
    missed = {"join"} if name in NOT_AT_FIRST else set()
    if name != READ_BY_ALL[0]:
        missed.add("attest")  # by somebody who was removed, and is shown no news
    return [each for each in every if each not in missed]


@pytest.mark.parametrize("name", LIES)
def test_a_lie_about_the_log_is_named_and_leaves_no_trace(stage: Stage, name: str) -> None:
    lie, error = stage.call(LIES[name].make(stage)), LIES[name].error
    for command in met(name):
        told = stage.run(COMMANDS[command], lie, BEHIND)
        expect_refused(told, NEWCOMER.get(name, error) if command == "join" else error)
        assert told.sent == ()


@pytest.mark.parametrize("name", [name for name in LIES if LIES[name].error is Fork])
@pytest.mark.parametrize("as_json", [True, False])
def test_a_fork_is_told_with_both_checkpoints(stage: Stage, name: str, as_json: bool) -> None:
    """Signed by the server, of one vault: that is what whoever is lied to can show to others."""
    told = stage.run(
        COMMANDS["vault status"], stage.call(LIES[name].make(stage)), BEHIND, json=as_json
    )
    vault, key = stage.call(whose(stage))
    shown = checkpoints_in(told)
    assert len(shown) == 2
    one, other = (parse_note(each.encode(), vault, key) for each in shown)
    assert (one.size, one.root) != (other.size, other.root)


async def whose(stage: Stage) -> tuple[bytes, bytes]:
    state = (await stage.cast("olga")).session.state
    return state.vault_id, state.server_key


def checkpoints_in(told: Told) -> list[str]:
    if told.out:
        return list(json.loads(told.out)["error"]["checkpoints"])
    first, *rest = told.err.split("checkpoint\n")
    assert first.startswith("error: ")
    return [textwrap.dedent(each) for each in rest]


@pytest.mark.parametrize("name", READ_BY_ALL)
def test_a_lie_about_the_log_ends_a_handover(offered: Stage, name: str) -> None:
    lie = offered.call(LIES[name].make(offered))
    for command in OFFERED.values():
        told = offered.run(command, lie, BEHIND)
        expect_refused(told, LIES[name].error)
        assert told.sent == ()


# --- blocks


@pytest.mark.parametrize("name", DATA_LIES)
def test_a_lie_about_records_is_named_and_leaves_no_trace(
    stage: Stage, offered: Stage, name: str
) -> None:
    for command in SHOWING if name == DATA_LIES[0] else ("read", "read --out .csv"):
        lie = OtherBlocks(lies_about_data(2)[name], names=False)
        told = stage.run(COMMANDS[command], lie, CURRENT)
        expect_refused(told, ManifestMismatch)
        assert (lie.lies, told.sent) == (1, ())
    shown = stage.run(
        COMMANDS["read"], OtherBlocks(lies_about_data(2)[name], names=False), CURRENT, json=False
    )
    assert (shown.code, shown.out, shown.changed) == (UNTRUE, "", [])
    assert "canary" not in shown.err
    lie = OtherBlocks(lies_about_data(3)[name], names=False)
    told = offered.run(OFFERED["handover accept"], lie, CURRENT)
    expect_refused(told, ManifestMismatch, keeps="compared")
    assert (lie.lies, told.sent) == (1, ())


class Recording:
    """A file being written, and the records that it was given."""

    def __init__(self, sink: Sink, given: list[pa.RecordBatch]) -> None:
        self.sink, self.given = sink, given

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sink, name)

    def write(self, batch: pa.RecordBatch) -> None:
        self.given.append(batch)
        self.sink.write(batch)


@pytest.mark.parametrize("name", DATA_LIES)
def test_only_what_was_verified_is_written_and_none_of_it_stays(
    stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[pa.RecordBatch] = []

    def recording(*arguments: Any, **named: Any) -> Recording:
        return Recording(open_sink(*arguments, **named), given)

    monkeypatch.setattr("client.exporting.open_sink", recording)
    lie = OtherBlocks(lies_about_data(2)[name], names=False)
    told = stage.run(COMMANDS["read --out .csv"], lie, CURRENT)
    expect_refused(told, ManifestMismatch)
    written = pa.Table.from_batches(given, schema=ORDERS.select(["item", "shop"]).schema)
    # What comes after the last block is noticed when that was verified already.
    assert written.num_rows < ROWS or name == "a block more"
    assert written.equals(ORDERS.select(["item", "shop"]).slice(0, written.num_rows))


@pytest.mark.parametrize("name", NAME_LIES)
def test_a_lie_about_names_is_named_and_leaves_no_trace(stage: Stage, name: str) -> None:
    for command in NAMING:
        lie = OtherBlocks(NAME_LIES[name], names=True)
        told = stage.run(COMMANDS[command], lie, BARE)
        expect_refused(told, ManifestMismatch)
        assert (lie.lies, told.sent) == (1, ())


def test_a_vault_that_is_only_said_to_be_frozen_withholds_no_names(stage: Stage) -> None:
    for command in NAMING:
        lie = SaysFrozen()
        told = stage.run(COMMANDS[command], lie, BARE)
        expect_refused(told, ManifestMismatch)
        assert (lie.lies, told.sent) == (1, ())


# --- other answers


@pytest.mark.parametrize("name", ACT_LIES)
def test_a_lie_about_an_act_is_named_and_leaves_no_trace(stage: Stage, name: str) -> None:
    for command in ACTING:
        told = stage.run(COMMANDS[command], ACT_LIES[name].make(), CURRENT, copied=True)
        expect_refused(told, ACT_LIES[name].error, keeps=OWN.get(command, ""))
        assert "submit" in told.sent


@pytest.mark.parametrize("name", READ_LIES)
def test_a_lie_about_reads_is_named_and_leaves_no_trace(stage: Stage, name: str) -> None:
    told = stage.run(COMMANDS["revoke --dry-run"], READ_LIES[name].make(), CURRENT)
    expect_refused(told, READ_LIES[name].error)


@pytest.mark.parametrize("name", INFO_LIES)
def test_no_vault_begins_weaker_than_it_may(stage: Stage, name: str) -> None:
    told = stage.run(CREATE, INFO_LIES[name].make(), CURRENT)
    expect_refused(told, INFO_LIES[name].error, keeps="new/keyring")
    assert told.sent == ()


def test_security_md_says_how_many_lies_are_told_in_how_many_runs() -> None:
    others = (DATA_LIES, NAME_LIES, ACT_LIES, READ_LIES, INFO_LIES)
    lies = len(LIES) + sum(map(len, others)) + 1
    log = sum(len(met(name)) for name in LIES) + len(READ_BY_ALL) * len(OFFERED)
    # Records: to two that read, one of them watched, one without --json; to the buyer; once to all.
    data = 5 * len(DATA_LIES) + len(SHOWING) - 2
    rest = (len(NAME_LIES) + 1) * len(NAMING) + len(ACT_LIES) * len(ACTING)
    runs = log + data + rest + len(READ_LIES) + len(INFO_LIES)
    said = " ".join(SECURITY.read_text(encoding="utf-8").split())
    assert f"told {lies} lies of a server in {runs} runs" in said


# --- the honest controls

LAST: Final = ("revoke", "freeze", "unfreeze", "vault destroy")
"""What leaves little for others to do."""


def test_the_same_commands_succeed_where_nobody_lies(tmp_path: Path) -> None:
    everything = {**COMMANDS, "vault create": CREATE}
    last = {name: everything.pop(name) for name in LAST}
    del everything["handover offer"]  # nothing else lands under an open offer
    with a_stage(tmp_path) as made:
        for name, command in {**everything, **last}.items():
            expect_done(made.run(command, Lie(), BEHIND, honest=True), name)


@pytest.mark.parametrize(
    "names",
    [
        ("handover offer",),
        ("handover status", "handover reject"),
        ("handover accept", "handover takeover"),
    ],
    ids=lambda names: names[-1],
)
def test_a_handover_succeeds_where_nobody_lies(tmp_path: Path, names: tuple[str, ...]) -> None:
    with a_stage(tmp_path, offered="handover offer" not in names) as made:
        for name in names:
            command = OFFERED.get(name) or COMMANDS[name]
            expect_done(made.run(command, Lie(), BEHIND, honest=True), name)


def expect_done(told: Told, name: str) -> None:
    assert (told.code, told.error) == (0, ""), (name, told.out, told.err)
