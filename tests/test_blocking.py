"""The waiting face of the SDK: in scripts, under a running loop, under Ctrl-C."""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from client import blocking, home, vault
from client.errors import InputError, Refused
from client.results.progress import Progress
from client.transport import HttpTransport, Signer
from protocol.acts import Reason, Role
from protocol.blocks import FieldClass
from protocol.errors import ApiMisuse, SealroomError
from tests.deals import PASSPHRASE, cheap_keyrings, in_batches_of, rows
from tests.hangs import HANGS_SECONDS
from tests.servers import running_server


class Server:
    """A real server, in a thread with a loop of its own."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self._loop, self._told = asyncio.get_running_loop(), asyncio.Event()
        async with running_server(self._data_dir) as server:
            self.url, self.pin, self.token = server.url, server.pin, server.token.reveal()
            self._ready.set()
            await self._told.wait()

    def __enter__(self) -> Server:
        self._thread.start()
        assert self._ready.wait(HANGS_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._told.set)
        self._thread.join(HANGS_SECONDS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with cheap_keyrings(), Server(tmp_path_factory.mktemp("server")) as running:
        yield running


def sealroom_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sealroom"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not sealroom_threads()


@pytest.fixture
def seller(server: Server, tmp_path: Path) -> Iterator[blocking.Vault]:
    with (
        blocking.Home(tmp_path / "seller", lambda: PASSPHRASE) as mine,
        mine.create_vault(
            server.url, title="Project Lark", name="Sue", pin=server.pin, token=server.token
        ) as made,
    ):
        made.upload(rows(30), collection="customers", options=in_batches_of(7))
        yield made


def whole_story(server: Server, folder: Path) -> None:
    """Do what a seller and a buyer do, without a word of asyncio."""
    progress: list[Progress] = []
    with (
        blocking.Home(folder / "seller", lambda: PASSPHRASE) as hers,
        blocking.Home(folder / "buyer", lambda: PASSPHRASE) as his,
    ):
        seller = hers.create_vault(
            server.url, title="Project Lark", name="Sue", pin=server.pin, token=server.token
        )
        assert [(v.title, v.vault_id) for v in hers.vaults()] == [("Project Lark", seller.vault_id)]
        assert (seller.server, seller.title()) == (server.url, "Project Lark")
        seller.upload(
            rows(30),
            collection="customers",
            classes={"name": FieldClass.CORE},
            on_progress=progress.append,
        )
        assert progress[-1].done == 30
        (folder / "lease.txt").write_text("a lease")
        attached = seller.attach(folder / "lease.txt", field_class=FieldClass.CORE)
        assert attached.document.size == len("a lease")
        link = seller.invite(Role.BIDDER, name="Bo").link
        buyer, joined = his.join(link)
        assert joined.member_id == buyer.identity.member_id.hex()
        seller.confirm("Bo", words=joined.words)
        seller.grant("Bo", classes=[FieldClass.SENSITIVE])
        assert buyer.read("customers", limit=3).to_pydict() == rows(3).drop(["name"]).to_pydict()
        seller.withdraw_grant("Bo", classes=[FieldClass.SENSITIVE])
        with pytest.raises(InputError, match="no collection"):
            buyer.read("customers")
        seller.rotate(collection="customers")
        seller.invite(Role.AUDITOR, name="Al")
        seller.withdraw_invite("Al")
        assert [m.name for m in seller.members()] == ["Sue", "Bo"]

        seller.offer("Bo")
        buyer.reject(Reason.OTHER)
        seller.rotate()
        seller.offer("Bo", days=2)
        assert buyer.accept(words=seller.words("Bo")).records == 30

        assert buyer.export("customers", path=folder / "out.parquet").records == 30
        assert [each.name for each in buyer.documents()] == ["lease.txt"]
        got = buyer.get_document("lease.txt", folder=folder / "contracts")
        assert Path(got.path).read_text() == "a lease"
        assert buyer.remove_document("lease.txt").name == "lease.txt"
        assert pa.Table.from_batches(buyer.stream("customers")).equals(rows(30))
        assert buyer.status().role == "owner"
        assert [c.name for c in buyer.collections()] == ["customers", "documents-core"]
        assert buyer.collection("customers").records == 30
        assert buyer.log(verify=True).verified > 10
        with pytest.raises(Refused, match="no longer a member"):
            seller.collections()


def test_a_script_does_it_all_without_asyncio(server: Server, tmp_path: Path) -> None:
    whole_story(server, tmp_path)


async def test_so_does_a_notebook_whose_thread_runs_a_loop(server: Server, tmp_path: Path) -> None:
    asyncio.get_running_loop()
    whole_story(server, tmp_path)


def test_a_vault_is_opened_again_by_another_home_object(
    seller: blocking.Vault, tmp_path: Path
) -> None:
    with blocking.Home(tmp_path / "seller", lambda: PASSPHRASE) as again:
        assert again.vault("Project Lark").vault_id == seller.vault_id
        assert again.vault().collection("customers").records == 30
        with pytest.raises(InputError, match="no such vault"):
            again.vault("Project Owl")


def test_the_passphrase_is_asked_for_in_the_callers_thread_and_once(
    seller: blocking.Vault, tmp_path: Path
) -> None:
    asked: list[threading.Thread] = []

    def ask() -> str:
        asked.append(threading.current_thread())
        return PASSPHRASE

    with blocking.Home(tmp_path / "seller", ask) as again:
        assert not asked
        again.vault().status()
        again.vault().status()
        assert [each.name for each in again.identities()] == ["identity-1"]
        assert asked == [threading.current_thread()]
    with blocking.Home(tmp_path / "new", ask) as new:
        new.new_identity("mine")
        assert [each.name for each in new.keyring.identities] == ["mine"]
    with blocking.Home(tmp_path / "none", ask) as none:
        with pytest.raises(SealroomError):
            none.create_vault("https://localhost:1", title="T", pin=bytes(32))
        assert none.directory == tmp_path / "none"
    assert asked == [threading.current_thread()] * 3


def test_a_stream_left_early_is_closed_and_the_vault_goes_on(seller: blocking.Vault) -> None:
    stream = seller.stream("customers")
    assert next(stream).num_rows == 7
    stream.close()
    for batch in seller.stream("customers", fields=["orders"], limit=9):
        assert batch.schema.names == ["orders"]
        break
    assert sum(batch.num_rows for batch in seller.stream("customers", limit=9)) == 9


def test_errors_come_through_as_they_are(seller: blocking.Vault) -> None:
    with pytest.raises(InputError, match="no collection 'nothing'") as caught:
        seller.read("nothing")
    assert caught.value.hint
    with pytest.raises(InputError, match="no collection 'nothing'"):
        next(seller.stream("nothing"))


def test_a_callback_that_calls_back_is_told_so(seller: blocking.Vault) -> None:
    def on_batch(_: pa.RecordBatch) -> None:
        seller.status()

    with pytest.raises(ApiMisuse, match="callback"):
        seller.export("customers", on_batch=on_batch)
    assert seller.status().records == 30


def test_whoever_goes_on_after_close_is_told_so(server: Server, tmp_path: Path) -> None:
    with blocking.Home(tmp_path / "h", lambda: PASSPHRASE) as mine:
        made = mine.create_vault(server.url, title="T", pin=server.pin, token=server.token)
        made.close()
        made.close()
    mine.close()
    with pytest.raises(ApiMisuse, match="after close"):
        made.status()
    with pytest.raises(ApiMisuse, match="after close"):
        mine.vault()


class Stuck(HttpTransport):
    """A server that takes a batch and never answers."""

    stuck: threading.Event
    cleaned: threading.Event

    async def stage(self, *_: Any) -> None:
        self.stuck.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cleaned.set()


def test_ctrl_c_stops_the_work_and_waits_until_it_cleaned_up(
    seller: blocking.Vault, tmp_path: Path
) -> None:
    stuck, cleaned = threading.Event(), threading.Event()

    def connect(url: str, pin: bytes | None, signer: Signer) -> Stuck:
        transport = Stuck(url, pin=pin, signer=signer)
        transport.stuck, transport.cleaned = stuck, cleaned
        return transport

    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        assert stuck.wait(HANGS_SECONDS)
        signal.pthread_kill(main, signal.SIGINT)

    with blocking.Home(tmp_path / "seller", lambda: PASSPHRASE, connect=connect) as again:
        opened = again.vault()
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            opened.upload(rows(3), collection="second")
        assert cleaned.is_set()
        # The loop lives on, and nothing of the upload does.
        assert opened.status().records == 30


def test_identities_come_and_go_without_asyncio(server: Server, tmp_path: Path) -> None:
    with (
        blocking.Home(tmp_path / "owner", lambda: PASSPHRASE) as hers,
        blocking.Home(tmp_path / "one", lambda: PASSPHRASE) as one,
        blocking.Home(tmp_path / "two", lambda: PASSPHRASE) as two,
        blocking.Home(tmp_path / "paper", lambda: PASSPHRASE) as paper,
        blocking.Home(tmp_path / "rescue", lambda: PASSPHRASE) as rescue,
    ):
        hers.create_keyring()
        owner = hers.create_vault(server.url, title="T", pin=server.pin, token=server.token)
        custodians = []
        for home, name in ((one, "One"), (two, "Two")):
            member, joined = home.join(owner.invite(Role.AUDITOR, name=name).link)
            owner.confirm(name, words=joined.words)
            custodians.append(member)

        moved = hers.rotate_identity(owner)
        assert owner.identity.member_id.hex() == moved.new_id != moved.old_id
        made = hers.backup(owner, tmp_path / "kit.html")
        kit = made.kit
        assert (kit, made.unconfirmed) == (hers.kit(owner), None)
        assert paper.restore(kit).identity.member_id == owner.identity.member_id

        owner.set_up_recovery(["One", "Two"])
        vault_id = bytes.fromhex(owner.vault_id)
        request = rescue.rescue_request(server.url, vault_id, server.pin)
        for member in custodians:
            words = rescue.rescue_words(vault_id, member.identity.member_id)
            assert member.request_words(request.text) == words
            member.release_share(request.text, words=words)
        rescued, result = rescue.rebuild()
        assert result.new_id == rescued.identity.member_id.hex()
        assert rescued.status().role == "owner"
        assert rescued.new_keys() == rescued.status().new_keys

        for gone in (hers, paper):
            gone_vault = gone.vault()
            with pytest.raises(Refused):
                gone_vault.collections()
        attested = paper.attest_destroyed(paper.vault())
        assert (attested.statement, paper.identities()) == ("keys-destroyed", ())
        assert Path(attested.proof).exists()


def public(kind: type) -> dict[str, Any]:
    return {
        name: inspect.getattr_static(kind, name) for name in dir(kind) if not name.startswith("_")
    }


NOT_ASYNC: dict[type, type] = {blocking.Vault: vault.Vault, blocking.Home: home.Home}


@pytest.mark.parametrize("mine", NOT_ASYNC, ids=lambda kind: kind.__name__)
def test_both_faces_have_the_same_methods_with_the_same_signatures(mine: type) -> None:
    theirs = public(NOT_ASYNC[mine])

    # What is set in `__init__` there is a property here.
    assert public(mine).keys() - theirs.keys() <= {"close", "server", "directory"}
    assert theirs.keys() <= public(mine).keys()
    for name, method in theirs.items():
        if not callable(method):
            continue
        own: Callable[..., Any] = getattr(mine, name)
        given, wanted = inspect.signature(own), inspect.signature(method)
        assert list(given.parameters.values()) == list(wanted.parameters.values()), name
        assert own.__doc__, name
        assert not inspect.iscoroutinefunction(own), name
