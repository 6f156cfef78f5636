from __future__ import annotations

import hashlib
import hmac
import os
import pickle
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import nacl.pwhash.argon2id
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from client import keyring_file as module
from client.crypto.derivation import hkdf
from client.crypto.secrets import InviteSecret, Seed
from client.keyring import Keyring, StoredIdentity, VaultEntry
from client.keyring_file import CEILING, FLOOR, Cost, KeyringFile, checked_file
from protocol.errors import (
    Conflict,
    Downgrade,
    ExposedFile,
    LimitExceeded,
    MalformedMessage,
    NoKeyring,
    SealroomError,
    Unsupported,
    WrongPassphrase,
)
from protocol.labels import Label, framed
from protocol.wire import encode, from_bytes, to_bytes
from tests.hangs import HANGS_SECONDS

REPO = Path(__file__).resolve().parent.parent
PHRASE = "correct horse battery staple"
MAGIC = b"sealroom keyring v1\n"
HEADER = struct.Struct(">20sIII16s12sI")
IDENTITY = StoredIdentity("work", Seed(bytes(range(32))), 1_700_000_000)
ENTRY = VaultEntry(
    vault_id=bytes([7]) * 32,
    server="https://vault.example:8443",
    tls_pin=bytes([8]) * 32,
    title="客户 2024",
    identity="work",
    invite=InviteSecret(bytes([9]) * 32),
    owned=True,
    successors=(),
    rescuing=False,
)


def opened(content: bytes, words: str) -> Keyring:
    """Read the content of a file."""
    return from_bytes(Keyring, KeyringFile.parse(content).opened(words))


def phrase() -> str:
    return PHRASE


def never() -> str:
    raise AssertionError("the passphrase was asked for")


def cheap_kdf(size: int, password: bytes, salt: bytes, opslimit: int, memlimit: int) -> bytes:
    """Depends on every input, like the real one, and costs nothing."""
    return hashlib.sha256(
        framed(Label.WORDS, password, salt, b"%d %d" % (opslimit, memlimit))
    ).digest()[:size]


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nacl.pwhash.argon2id, "kdf", cheap_kdf)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "keyring"


@pytest.fixture
def made(cheap: None, path: Path) -> Path:
    Keyring.create(path, phrase)
    with Keyring.edit(path, phrase) as draft:
        draft.keyring = draft.keyring.with_identity(IDENTITY).with_vault(ENTRY)
    return path


def rewrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)


# --- round trips, and the layout


def test_a_keyring_comes_back_as_it_was_saved_under_the_real_cost(path: Path) -> None:
    assert Keyring.create(path, phrase) == Keyring(1, (), ())
    with Keyring.edit(path, phrase) as draft:
        draft.keyring = draft.keyring.with_identity(IDENTITY).with_vault(ENTRY)
    assert draft.keyring == Keyring(2, (IDENTITY,), (ENTRY,))
    assert Keyring.load(path, phrase) == draft.keyring
    with pytest.raises(WrongPassphrase) as caught:
        Keyring.load(path, lambda: PHRASE + " ")
    assert caught.value.code == "wrong_passphrase"
    assert caught.value.hint


def test_the_file_is_laid_out_as_documented(made: Path) -> None:
    # An independent reader: nothing here but the libraries and the labels.
    content = made.read_bytes()
    magic, memory, passes, lanes, salt, nonce, length = HEADER.unpack_from(content)
    assert (magic, memory, passes, lanes) == (MAGIC, 65_536, 3, 1)
    header, ciphertext, mac = content[:64], content[64 : 64 + length], content[64 + length :]
    master = cheap_kdf(32, PHRASE.encode(), salt, 3, 64 * 2**20)
    mac_key = hkdf(master, framed(Label.KEYRING_MAC))
    message = framed(Label.KEYRING_FILE, header, ciphertext)
    assert mac == hmac.new(mac_key, message, hashlib.sha256).digest()
    encryption_key = hkdf(master, framed(Label.KEYRING_ENCRYPTION))
    associated = framed(Label.KEYRING_FILE, header)
    contents = AESGCM(encryption_key).decrypt(nonce, ciphertext, associated)
    identity = ("work", bytes(range(32)), 1_700_000_000)
    entry = (ENTRY.vault_id, ENTRY.server, ENTRY.tls_pin, ENTRY.title, "work", bytes([9]) * 32)
    assert contents == encode((2, (identity,), ((*entry, True, (), False),)))


def test_nothing_in_the_file_is_in_clear(made: Path) -> None:
    content = made.read_bytes()
    assert IDENTITY.seed.expose() not in content
    assert ENTRY.vault_id not in content
    assert ENTRY.server.encode() not in content
    assert b"work" not in content


def test_each_save_draws_a_salt_and_a_nonce(made: Path) -> None:
    seen = set()
    for created in range(5):
        with Keyring.edit(made, phrase) as draft:
            draft.keyring = draft.keyring.with_identity(replace(IDENTITY, created=created))
        content = made.read_bytes()
        seen.add(content[32:48])
        seen.add(content[48:60])
    assert len(seen) == 10


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
ids = st.binary(min_size=32, max_size=32)
identities = st.builds(StoredIdentity, texts, st.builds(Seed, ids), st.integers(0, 2**40))


@st.composite
def keyrings(draw: st.DrawFn) -> Keyring:
    own = draw(st.lists(identities, max_size=4, unique_by=lambda one: one.name))
    vaults: list[VaultEntry] = []
    if own:
        names = st.permutations([one.name for one in own])
        entries = st.builds(
            lambda names, tries, **rest: VaultEntry(
                identity=names[0], successors=tuple(names[1 : 1 + tries]), **rest
            ),
            names,
            st.integers(0, 3),
            vault_id=ids,
            server=texts,
            tls_pin=st.none() | ids,
            title=texts,
            invite=st.none() | st.builds(InviteSecret, ids),
            owned=st.booleans(),
            rescuing=st.booleans(),
        )
        vaults = draw(st.lists(entries, max_size=4, unique_by=lambda one: one.vault_id))
    return Keyring(draw(st.integers(0, 2**62)), tuple(own), tuple(vaults))


@given(keyrings(), texts)
def test_any_keyring_seals_and_opens(keyring: Keyring, words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nacl.pwhash.argon2id, "kdf", cheap_kdf)
        sealed = module.sealed(to_bytes(keyring), words, FLOOR)
        assert opened(sealed, words) == keyring


def test_a_passphrase_is_the_same_however_it_is_composed(cheap: None, path: Path) -> None:
    Keyring.create(path, lambda: "Zoë")
    assert Keyring.load(path, lambda: "Zoe\u0308").counter == 1


# --- what is refused


@pytest.mark.threat("C11")
def test_any_changed_byte_is_refused(made: Path) -> None:
    content = made.read_bytes()
    assert opened(content, PHRASE).identities == (IDENTITY,)
    allowed = (WrongPassphrase, MalformedMessage, Unsupported, Downgrade, LimitExceeded)
    for place in range(len(content)):
        for mask in (0x01, 0x80, 0xFF):
            changed = bytearray(content)
            changed[place] ^= mask
            with pytest.raises(allowed):
                opened(bytes(changed), PHRASE)


def test_a_file_cut_at_any_length_is_malformed(made: Path) -> None:
    content = made.read_bytes()
    for length in range(len(content)):
        with pytest.raises(MalformedMessage):
            KeyringFile.parse(content[:length])
    with pytest.raises(MalformedMessage):
        KeyringFile.parse(content + b"\x00")


def test_a_cut_or_foreign_file_is_refused_before_the_passphrase(made: Path) -> None:
    whole = made.read_bytes()
    for content in (b"", b"-----BEGIN", whole[:-1], whole[:40], whole + b"x"):
        rewrite(made, content)
        with pytest.raises(MalformedMessage):
            Keyring.load(made, never)


def test_another_version_is_unsupported(made: Path) -> None:
    rewrite(made, made.read_bytes().replace(b"v1\n", b"v2\n", 1))
    with pytest.raises(Unsupported):
        Keyring.load(made, never)


def test_a_length_too_small_for_a_tag_is_malformed(made: Path) -> None:
    header = HEADER.pack(MAGIC, 65_536, 3, 1, bytes(16), bytes(12), 15)
    rewrite(made, header + bytes(15) + bytes(32))
    with pytest.raises(MalformedMessage):
        Keyring.load(made, never)


@given(st.binary(max_size=200), st.booleans())
def test_arbitrary_bytes_are_a_file_or_a_typed_refusal(tail: bytes, with_header: bool) -> None:
    start = HEADER.pack(MAGIC, 65_536, 3, 1, bytes(16), bytes(12), 20) if with_header else MAGIC
    try:
        file = KeyringFile.parse(start + tail)
    except SealroomError:
        return
    assert file.header.encode() + file.ciphertext + file.mac == start + tail


WEAK = [replace(FLOOR, memory_kib=FLOOR.memory_kib - 1), replace(FLOOR, passes=2)]
WEAK += [Cost(8, 1), Cost(0, 0, 0), replace(FLOOR, lanes=0)]
HEAVY = [replace(FLOOR, memory_kib=CEILING.memory_kib + 1), replace(FLOOR, passes=17)]
HEAVY += [replace(FLOOR, memory_kib=2**32 - 1), replace(FLOOR, passes=2**32 - 1)]
HEAVY += [replace(FLOOR, lanes=2)]


def with_cost(content: bytes, cost: Cost) -> bytes:
    fields = list(HEADER.unpack_from(content))
    fields[1:4] = [cost.memory_kib, cost.passes, cost.lanes]
    return HEADER.pack(*fields) + content[64:]


@pytest.mark.threat("L1")
@pytest.mark.parametrize("cost", WEAK, ids=str)
def test_a_weakened_file_is_refused_before_the_passphrase(made: Path, cost: Cost) -> None:
    rewrite(made, with_cost(made.read_bytes(), cost))
    with pytest.raises(Downgrade):
        Keyring.load(made, never)
    with pytest.raises(Downgrade), Keyring.edit(made, never):
        pass


@pytest.mark.threat("L2")
@pytest.mark.parametrize("cost", HEAVY, ids=str)
def test_a_costly_file_is_refused_before_the_passphrase_is_asked_for(
    made: Path, cost: Cost, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(made, with_cost(made.read_bytes(), cost))
    monkeypatch.setattr("nacl.pwhash.argon2id.kdf", never)
    with pytest.raises(LimitExceeded):
        Keyring.load(made, never)


@pytest.mark.threat("L1")
def test_costs_between_floor_and_ceiling_are_kept(cheap: None, path: Path) -> None:
    for number, cost in enumerate((FLOOR, Cost(FLOOR.memory_kib + 1, 5), CEILING)):
        file = path.with_name(f"keyring{number}")
        Keyring.create(file, phrase, cost)
        with Keyring.edit(file, phrase) as draft:
            draft.keyring = draft.keyring.with_identity(IDENTITY)
        assert HEADER.unpack_from(file.read_bytes())[1:4] == (cost.memory_kib, cost.passes, 1)
        assert Keyring.load(file, phrase).identities == (IDENTITY,)


@pytest.mark.parametrize(("cost", "error"), [(WEAK[0], Downgrade), (HEAVY[0], LimitExceeded)])
def test_no_file_is_made_with_another_cost(
    path: Path, cost: Cost, error: type[SealroomError]
) -> None:
    with pytest.raises(error):
        Keyring.create(path, never, cost)
    assert not path.parent.exists()


@pytest.mark.threat("L4")
def test_a_ciphertext_that_opens_is_not_enough(made: Path) -> None:
    # The GCM part is right under PHRASE; the MAC commits the file to another passphrase.
    content = made.read_bytes()
    file = KeyringFile.parse(content)
    _, other = module._keys("another", file.header)
    crossed = content[:-32] + module._mac(other, file.header, file.ciphertext)
    for words in (PHRASE, "another"):
        with pytest.raises(WrongPassphrase):
            opened(crossed, words)
    assert opened(content, PHRASE).counter == 2


@pytest.mark.threat("L4")
def test_a_mac_that_fits_is_not_enough(made: Path) -> None:
    file = KeyringFile.parse(made.read_bytes())
    changed = bytes([file.ciphertext[0] ^ 1]) + file.ciphertext[1:]
    _, key = module._keys(PHRASE, file.header)
    forged = replace(file, ciphertext=changed, mac=module._mac(key, file.header, changed))
    with pytest.raises(WrongPassphrase):
        forged.opened(PHRASE)


A, B = ("a", bytes(32), 1), ("b", bytes(32), 1)


def entry(identity: str, *successors: str) -> tuple[object, ...]:
    return (bytes(32), "s", None, "t", identity, None, False, successors, False)


INCONSISTENT = [
    ((1, (A, ("a", bytes(32), 2)), ()), "one name"),
    ((1, (A,), (entry("absent"),)), "not there"),
    ((1, (A, B), (entry("a", "b", "absent"),)), "not there"),
    ((1, (A, B), (entry("a", "b", "a"),)), "by itself"),
    ((1, (A, B), (entry("a", "b", "b"),)), "repeat"),
    ((1, (A, B), (entry("a"), entry("b"))), "listed twice"),
    ((1, (("a", bytes(31), 1),), ()), "seed"),
    ((1, (A,), (entry("a")[:-1],)), "a list of 9 fields"),
    ((True, (), ()), "counter"),
    ((1, ()), "a list of 3 fields"),
]


@pytest.mark.parametrize(("value", "why"), INCONSISTENT)
def test_contents_that_contradict_themselves_are_malformed(
    value: tuple[object, ...], why: str
) -> None:
    with pytest.raises(MalformedMessage, match=why):
        from_bytes(Keyring, encode(value))  # type: ignore[arg-type]


def test_more_tries_to_replace_an_identity_than_are_kept_are_refused() -> None:
    names = [f"{i}" for i in range(33)]
    kept = tuple((name, bytes(32), 1) for name in (*names, "a"))
    with pytest.raises(LimitExceeded, match="successors"):
        from_bytes(Keyring, encode((1, kept, (entry("a", *names),))))  # type: ignore[arg-type]
    read = from_bytes(Keyring, encode((1, kept, (entry("a", *names[1:]),))))  # type: ignore[arg-type]
    assert len(read.vaults[0].identities) == 33


def test_contents_that_agree_with_themselves_are_read() -> None:
    read = from_bytes(Keyring, encode((1, (A, B), (entry("a", "b"),))))  # type: ignore[arg-type]
    assert read.vaults[0].identities == ("a", "b")


def test_a_vault_needs_its_identity() -> None:
    with pytest.raises(MalformedMessage):
        Keyring(0, (), ()).with_vault(ENTRY)
    ring = Keyring(0, (IDENTITY,), ()).with_vault(ENTRY)
    with pytest.raises(MalformedMessage):
        ring.without_identity(IDENTITY.name)
    assert ring.without_vault(ENTRY.vault_id).without_identity(IDENTITY.name).identities == ()


# --- passphrases and secrets


@pytest.mark.parametrize("words", ["", "\ud800"])
def test_a_passphrase_that_protects_nothing_makes_no_file(path: Path, words: str) -> None:
    with pytest.raises(WrongPassphrase):
        Keyring.create(path, lambda: words)
    assert not path.exists()


@pytest.mark.threat("L5")
def test_errors_and_reprs_tell_no_secret(made: Path) -> None:
    canary = "canary-9f2c"
    raised: list[BaseException] = []
    for words in (canary, canary + "\ud800"):
        with pytest.raises(WrongPassphrase) as caught:
            Keyring.load(made, lambda words=words: words)  # type: ignore[misc]
        error: BaseException | None = caught.value
        while error is not None:
            raised.append(error)
            error = error.__cause__ or error.__context__
    assert all(canary not in f"{error!r} {error.args} {vars(error)}" for error in raised)
    shown = repr(Keyring(1, (IDENTITY,), (ENTRY,)))
    assert IDENTITY.seed.expose().hex() not in shown
    assert repr(IDENTITY.seed.expose())[2:-1] not in shown
    assert "\\t\\t\\t\\t" not in shown  # the invite secret, nine times thirty-two


@pytest.mark.threat("L5")
def test_a_keyring_does_not_pickle() -> None:
    assert pickle.loads(pickle.dumps(Keyring(1, (), ()))) == Keyring(1, (), ())
    for holder in (Keyring(1, (IDENTITY,), ()), IDENTITY, ENTRY):
        with pytest.raises(TypeError):
            pickle.dumps(holder)


# --- lookups and changes


def test_changes_replace_by_name_and_by_vault() -> None:
    keyring = Keyring(3, (), ()).with_identity(IDENTITY).with_vault(ENTRY)
    newer = replace(IDENTITY, created=5)
    moved = replace(ENTRY, server="https://elsewhere.example")
    changed = keyring.with_identity(newer).with_vault(moved)
    assert changed == Keyring(3, (newer,), (moved,))
    assert changed.identity("work") == newer
    assert changed.vault(ENTRY.vault_id) == moved
    assert changed.identity("home") is None
    assert changed.vault(bytes(32)) is None
    assert changed.without_vault(ENTRY.vault_id) == Keyring(3, (newer,), ())
    assert keyring == Keyring(3, (IDENTITY,), (ENTRY,))


@pytest.mark.threat("K15")
def test_an_identity_that_serves_no_more_goes_with_its_seed() -> None:
    names = ("work", "tried", "tried again", "spare")
    stored = tuple(replace(IDENTITY, name=name) for name in names)
    keyring = Keyring(3, stored, (replace(ENTRY, successors=("tried", "tried again")),))
    anew = keyring.with_vault(replace(ENTRY, identity="spare"))
    assert anew.identities == stored[3:]
    followed = keyring.with_vault(replace(ENTRY, identity="tried again"))
    assert followed.identities == stored[2:]
    # What serves on stays, and so does what serves elsewhere.
    titled = replace(keyring.vaults[0], title="another")
    assert keyring.with_vault(titled).identities == stored
    other = keyring.with_vault(replace(ENTRY, vault_id=bytes(32), identity="spare"))
    assert other.identities == stored


# --- the disk


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.threat("L5")
def test_files_are_for_their_owner_only_from_the_first_byte(
    cheap: None, path: Path, open_umask: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    Keyring.create(path, phrase)
    assert modes == [0o600, 0o700]  # the file while it had another name, then its folder
    assert {entry.name: mode(entry) for entry in path.parent.iterdir()} == {
        "keyring": 0o600,
        "keyring.lock": 0o600,
    }


@pytest.mark.threat("L5")
@pytest.mark.parametrize("bit", [0o040, 0o020, 0o010, 0o004, 0o002, 0o001])
def test_a_file_open_to_others_is_refused_before_the_passphrase(made: Path, bit: int) -> None:
    made.chmod(0o600 | bit)
    with pytest.raises(ExposedFile) as caught:
        Keyring.load(made, never)
    assert caught.value.hint == f"chmod 600 {made}"
    made.chmod(0o600)
    assert Keyring.load(made, phrase).counter == 2


def test_a_folder_in_the_place_of_a_keyring_is_none(tmp_path: Path) -> None:
    (tmp_path / "keyring").mkdir(mode=0o700)
    with pytest.raises(NoKeyring, match="is a folder, and a keyring is a file"):
        checked_file(tmp_path / "keyring")


@pytest.mark.threat("L5")
@pytest.mark.parametrize("bit", [0o020, 0o002, 0o1002])
def test_a_folder_that_others_may_write_into_is_refused_before_the_passphrase(
    made: Path, bit: int
) -> None:
    before = made.read_bytes()
    made.parent.chmod(0o700 | bit)
    other = made.with_name("other")
    for attempt in (
        lambda: Keyring.load(made, never),
        lambda: Keyring.edit(made, never).__enter__(),
        lambda: Keyring.create(other, never),
    ):
        with pytest.raises(ExposedFile, match="others on this machine may change") as caught:
            attempt()
        assert str(caught.value.hint).startswith(f"chmod 700 {made.parent};")
    assert made.read_bytes() == before
    assert not other.exists()
    made.parent.chmod(0o755)  # who may only look into it does no harm
    assert Keyring.load(made, phrase).counter == 2


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(NoKeyring, match="keyring") as caught:
        Keyring.load(path, never)
    assert caught.value.hint
    with pytest.raises(NoKeyring), Keyring.edit(path, never):
        pass


def test_creating_leaves_a_file_that_is_there(made: Path) -> None:
    before = made.read_bytes()
    with pytest.raises(Conflict):
        Keyring.create(made, never)
    assert made.read_bytes() == before


def test_creating_looks_again_after_the_passphrase(made: Path) -> None:
    other, content = made.with_name("other"), made.read_bytes()

    def slow() -> str:
        rewrite(other, content)
        return PHRASE

    with pytest.raises(Conflict):
        Keyring.create(other, slow)
    assert other.read_bytes() == content


def test_a_file_beyond_the_limit_is_not_read(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILE_BYTES", len(made.read_bytes()))
    assert Keyring.load(made, phrase).counter == 2
    monkeypatch.setattr(module, "MAX_FILE_BYTES", len(made.read_bytes()) - 1)
    with pytest.raises(LimitExceeded):
        Keyring.load(made, never)


def test_a_keyring_beyond_the_limit_is_not_saved(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made.read_bytes()
    monkeypatch.setattr(module, "MAX_FILE_BYTES", len(before))
    with pytest.raises(LimitExceeded), Keyring.edit(made, phrase) as draft:
        draft.keyring = draft.keyring.with_identity(replace(IDENTITY, name="one more"))
    assert made.read_bytes() == before


# --- editing


def test_each_save_counts_one(made: Path) -> None:
    for number in range(3, 6):
        with Keyring.edit(made, phrase) as draft:
            draft.keyring = draft.keyring.with_identity(replace(IDENTITY, created=number))
        assert draft.keyring.counter == number
        assert Keyring.load(made, phrase).counter == number


def test_a_draft_cannot_turn_the_counter_back(made: Path) -> None:
    with Keyring.edit(made, phrase) as draft:
        draft.keyring = replace(draft.keyring, counter=0, vaults=())
    assert Keyring.load(made, phrase) == Keyring(3, (IDENTITY,), ())


def test_an_edit_that_changes_nothing_writes_nothing(made: Path) -> None:
    before = made.read_bytes()
    with Keyring.edit(made, phrase) as draft:
        draft.keyring = draft.keyring.with_vault(ENTRY)
    assert made.read_bytes() == before


def test_an_edit_that_fails_leaves_the_file_as_it_was(made: Path) -> None:
    def edit_and_fail() -> None:
        with Keyring.edit(made, phrase) as draft:
            draft.keyring = draft.keyring.without_vault(ENTRY.vault_id)
            raise RuntimeError("stop")

    before = made.read_bytes()
    with pytest.raises(RuntimeError, match="stop"):
        edit_and_fail()
    assert made.read_bytes() == before
    with Keyring.edit(made, phrase) as draft:  # the lock was given up
        draft.keyring = draft.keyring.without_vault(ENTRY.vault_id)
    assert Keyring.load(made, phrase).vaults == ()


@pytest.mark.threat("R2")
@pytest.mark.parametrize(("owner", "step"), [(os, "fsync"), (Path, "rename")])
def test_a_save_that_breaks_off_leaves_the_file_as_it_was(
    made: Path, monkeypatch: pytest.MonkeyPatch, owner: object, step: str
) -> None:
    def broken(*_: object) -> None:
        raise OSError("no space")

    before = made.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, broken)
        with pytest.raises(OSError, match="no space"), Keyring.edit(made, phrase) as draft:
            draft.keyring = draft.keyring.without_vault(ENTRY.vault_id)
    assert made.read_bytes() == before
    assert sorted(entry.name for entry in made.parent.iterdir()) == ["keyring", "keyring.lock"]


@pytest.mark.threat("R2")
def test_what_a_dead_process_left_is_replaced(made: Path) -> None:
    made.with_name(".keyring.new").write_bytes(b"half a file")
    with Keyring.edit(made, phrase) as draft:
        draft.keyring = draft.keyring.without_vault(ENTRY.vault_id)
    assert Keyring.load(made, phrase).vaults == ()
    assert not made.with_name(".keyring.new").exists()


EDITOR = """
import sys, time
from pathlib import Path
import nacl.pwhash.argon2id
from client.crypto.secrets import Seed
from client.keyring import Keyring, StoredIdentity
from tests.test_keyring import cheap_kdf, phrase
nacl.pwhash.argon2id.kdf = cheap_kdf
for number in range(10):
    with Keyring.edit(Path(sys.argv[1]), phrase) as draft:
        time.sleep(0.005)
        name = f"{sys.argv[2]} {number}"
        identity = StoredIdentity(name, Seed(bytes(32)), number)
        draft.keyring = draft.keyring.with_identity(identity)
"""


def test_processes_that_edit_one_file_lose_no_change(made: Path) -> None:
    command = [sys.executable, "-c", EDITOR, str(made)]
    editors = [subprocess.Popen([*command, str(number)], cwd=REPO) for number in range(3)]
    assert [editor.wait(HANGS_SECONDS) for editor in editors] == [0, 0, 0]
    keyring = Keyring.load(made, phrase)
    expected = {f"{editor} {number}" for editor in range(3) for number in range(10)}
    assert {identity.name for identity in keyring.identities} == expected | {"work"}
    assert keyring.counter == 2 + 30


@pytest.mark.threat("R2")
def test_a_killed_editor_leaves_a_whole_file_and_no_lock(made: Path) -> None:
    endless = EDITOR.replace("range(10)", "range(10**9)").replace("0.005", "0")
    editor = subprocess.Popen([sys.executable, "-c", endless, str(made), "x"], cwd=REPO)
    wait_until(lambda: Keyring.load(made, phrase).counter > 20)
    editor.kill()
    editor.wait()
    counter = Keyring.load(made, phrase).counter
    with Keyring.edit(made, phrase) as draft:
        draft.keyring = draft.keyring.without_vault(ENTRY.vault_id)
    assert draft.keyring.counter == counter + 1


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANGS_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_file_of_version_1_stays_readable(tmp_path: Path) -> None:
    file = tmp_path / "keyring"
    rewrite(file, bytes.fromhex(VERSION_1))
    assert Keyring.load(file, lambda: "密码 ë") == Keyring(7, (IDENTITY,), (ENTRY,))


VERSION_1 = (
    "7365616c726f6f6d206b657972696e672076310a000100000000000300000001133ec5faa14f934f03f7327e"
    "f68b080273ee8c8da2e93bd963463173000000d752b85c0e9b5e816d9fcafc0f2cef324d58ff0e1d0ae35a95"
    "33aeab1848e5d06fbdb9820fb58b4f653ee4d11241e1d5b2398c4675fae007214c5ce4f0e43e47bffbd0933e"
    "9a461d38f45c7be166520299b655b465790d51335492ddd571ebd77467846462ba347d5613b7de63b1f1401b"
    "f80d26c7b22bd621250ab50af69cfad8aac5ed653d73aa99f5cac33c4769f7f877d6ba484b2145fc10d1203c"
    "62c5ce8accc5a14a934002c46b8adf7312512f34db75900302e3bdf938ece163ee9b49dba20858627b633a20"
    "d560270e9a1e5b458e6161063fc1c8e158d2dcbfcbf1688f1925ba873eba51ef6e609e7fdcae7c1efc4e4a8f"
    "e95880"
)
