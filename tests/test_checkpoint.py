from __future__ import annotations

import base64
import copy
import dataclasses
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from protocol.checkpoint import (
    SIZE_MOST,
    TIME_MOST,
    Checkpoint,
    checkpoint_key,
    origin,
    parse_note,
    signed_message,
)
from protocol.errors import (
    ApiMisuse,
    ContextMismatch,
    IntegrityError,
    LimitExceeded,
    MalformedMessage,
    SealroomError,
    WeakKey,
)
from protocol.limits import LIMITS
from protocol.merkle import EMPTY_ROOT
from protocol.note import (
    KeyKind,
    NoteSignature,
    SignedNote,
    VerifierKey,
    cosigned_message,
    parse_base64,
    parse_signed_note,
)

KEY = SigningKey(bytes(32))
PUBLIC = bytes(KEY.verify_key)
OTHER = SigningKey(b"\1" * 32)
VAULT = bytes(range(32))
ROOT = bytes(range(100, 132))
TIME = 1_700_000_000


def signature(size: int = 7, root: bytes = ROOT, time: int = TIME, key: SigningKey = KEY) -> bytes:
    return key.sign(signed_message(VAULT, size, root, time)).signature


def checkpoint(size: int = 7, root: bytes = ROOT, time: int = TIME) -> Checkpoint:
    return Checkpoint.verified(VAULT, size, root, time, signature(size, root, time), PUBLIC)


CHECKPOINT = checkpoint()
NOTE = CHECKPOINT.note()


def note_over(text: bytes, time: int = TIME, key: SigningKey = KEY) -> bytes:
    """Sign any text as the server would, right or wrong."""
    named = checkpoint_key(VAULT, bytes(key.verify_key))
    content = time.to_bytes(8, "big") + key.sign(cosigned_message(text, time)).signature
    return text + b"\n" + NoteSignature(named.name, named.key_id, content).line()


def parse(note: bytes) -> Checkpoint:
    return parse_note(note, VAULT, PUBLIC)


# --- checkpoints


def test_the_note_is_this() -> None:
    key_id = checkpoint_key(VAULT, PUBLIC).key_id
    signed = base64.b64encode(key_id + TIME.to_bytes(8, "big") + signature()).decode()
    assert NOTE.decode() == (
        f"sealroom/{VAULT.hex()}\n7\n{base64.b64encode(ROOT).decode()}\n"
        f"\n\u2014 sealroom/{VAULT.hex()} {signed}\n"
    )


def test_the_signed_bytes_are_those_of_tlog_cosignature() -> None:
    assert signed_message(VAULT, 7, ROOT, TIME) == (
        b"cosignature/v1\ntime 1700000000\n" + NOTE.partition(b"\n\n")[0] + b"\n"
    )


def test_the_key_id_is_that_of_c2sp() -> None:
    # SHA-256 of the name, a newline, the type and the key; four bytes of it.
    assert checkpoint_key(VAULT, PUBLIC).kind == 4
    assert checkpoint_key(VAULT, PUBLIC).name == origin(VAULT) == "sealroom/" + VAULT.hex()
    hashed = hashlib.sha256(b"sealroom/%b\n\x04%b" % (VAULT.hex().encode(), PUBLIC)).digest()
    assert checkpoint_key(VAULT, PUBLIC).key_id == hashed[:4]


@given(st.integers(1, SIZE_MOST), st.binary(min_size=32, max_size=32), st.integers(0, TIME_MOST))
def test_checkpoints_round_trip(size: int, root: bytes, time: int) -> None:
    made = checkpoint(size, root, time)
    again = parse(made.note())
    assert again == made
    assert again.note() == made.note()
    assert (again.vault_id, again.size, again.root, again.time) == (VAULT, size, root, time)
    assert again.signature == made.signature
    assert again.server_key == PUBLIC


def test_an_empty_log_has_one_root() -> None:
    assert parse(checkpoint(0, EMPTY_ROOT).note()).size == 0
    with pytest.raises(MalformedMessage):
        signed_message(VAULT, 0, ROOT, TIME)
    text = f"{origin(VAULT)}\n0\n{base64.b64encode(ROOT).decode()}\n".encode()
    with pytest.raises(MalformedMessage):
        parse(note_over(text))


@pytest.mark.parametrize("bit", [1, 2, 0x10, 0x20, 0x80])
def test_any_changed_byte_is_noticed(bit: int) -> None:
    for place in range(len(NOTE)):
        broken = bytearray(NOTE)
        broken[place] ^= bit
        with pytest.raises(SealroomError):
            parse(bytes(broken))


def test_any_missing_or_added_byte_is_noticed() -> None:
    for place in range(len(NOTE) + 1):
        for broken in (NOTE[:place] + NOTE[place + 1 :], NOTE[:place] + b"\n" + NOTE[place:]):
            if broken != NOTE:
                with pytest.raises(SealroomError):
                    parse(broken)


@pytest.mark.parametrize(
    ("size", "root", "time"),
    [(8, ROOT, TIME), (7, bytes(32), TIME), (7, ROOT, TIME + 1)],
)
def test_a_signature_covers_size_root_and_time(size: int, root: bytes, time: int) -> None:
    with pytest.raises(IntegrityError):
        Checkpoint.verified(VAULT, size, root, time, signature(), PUBLIC)


def test_a_signature_covers_the_vault() -> None:
    with pytest.raises(IntegrityError):
        Checkpoint.verified(ROOT, 7, ROOT, TIME, signature(), PUBLIC)
    with pytest.raises(ContextMismatch):
        parse_note(NOTE, ROOT, PUBLIC)


def test_another_key_or_a_weak_one_verifies_nothing() -> None:
    other = bytes(OTHER.verify_key)
    with pytest.raises(IntegrityError):
        Checkpoint.verified(VAULT, 7, ROOT, TIME, signature(), other)
    with pytest.raises(IntegrityError):
        parse_note(NOTE, VAULT, other)
    weak = (1).to_bytes(32, "little")
    with pytest.raises(WeakKey):
        Checkpoint.verified(VAULT, 7, ROOT, TIME, weak + bytes(32), weak)


def test_a_colliding_key_id_is_not_enough() -> None:
    # Four bytes of key id are found by trying; the line is then taken for ours, and fails.
    content = TIME.to_bytes(8, "big") + signature(key=OTHER)
    line = NoteSignature(origin(VAULT), checkpoint_key(VAULT, PUBLIC).key_id, content).line()
    with pytest.raises(IntegrityError):
        parse(NOTE.partition(b"\n\n")[0] + b"\n\n" + line)


@pytest.mark.parametrize(
    ("vault", "size", "root", "time"),
    [
        (VAULT[:31], 7, ROOT, TIME),
        (VAULT, 7, ROOT[:31], TIME),
        (VAULT, -1, ROOT, TIME),
        (VAULT, SIZE_MOST + 1, ROOT, TIME),
        (VAULT, 7, ROOT, -1),
        (VAULT, 7, ROOT, TIME_MOST + 1),
    ],
)
def test_nothing_out_of_range_is_signed(vault: bytes, size: int, root: bytes, time: int) -> None:
    with pytest.raises(MalformedMessage):
        signed_message(vault, size, root, time)


def lines(first: str = origin(VAULT), size: str = "7", root: str | None = None) -> bytes:
    return f"{first}\n{size}\n{root or base64.b64encode(ROOT).decode()}\n".encode()


def test_the_control_is_taken() -> None:
    assert parse(note_over(lines())) == CHECKPOINT


@pytest.mark.parametrize(
    "text",
    [
        lines(size="07"),
        lines(size="+7"),
        lines(size="-7"),
        lines(size=" 7"),
        lines(size="7 "),
        lines(size="7_0"),
        lines(size="0x7"),
        lines(size=""),
        lines(size="７"),
        lines(size=str(SIZE_MOST + 1)),
        lines(size="9" * 400),
        lines(root=base64.b64encode(ROOT[:31]).decode()),
        lines(root=base64.b64encode(ROOT + b"\0").decode()),
        lines(root=base64.b64encode(ROOT).decode().rstrip("=")),
        lines(root=base64.b64encode(ROOT).decode()[:-2] + "N="),
        lines(root=base64.urlsafe_b64encode(b"\xff" * 32).decode()),
        lines(root=" " + base64.b64encode(ROOT).decode()),
        lines() + b"an extension\n",
        b"\n" + lines(),
        b"".join(lines().splitlines(keepends=True)[:2]),
    ],
)
def test_genuinely_signed_but_of_another_form_is_malformed(text: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse(note_over(text))


def test_genuinely_signed_with_a_time_out_of_range_is_malformed() -> None:
    with pytest.raises(MalformedMessage):
        parse(note_over(lines(), TIME_MOST + 1))


@pytest.mark.parametrize(
    "first", ["sealroom/" + bytes(32).hex(), origin(VAULT).upper(), origin(VAULT) + " "]
)
def test_the_checkpoint_of_another_log_is_named_so(first: str) -> None:
    with pytest.raises(ContextMismatch):
        parse(note_over(lines(first)))


def test_lines_by_others_are_passed_over() -> None:
    text, _, ours = NOTE.partition(b"\n\n")
    witness = NoteSignature("witness.example/w1", b"wit1", bytes(72)).line()
    stranger = NoteSignature(origin(VAULT), b"abcd", b"x").line()
    for signed in (ours + witness, witness + ours, witness + stranger + ours):
        assert parse(text + b"\n\n" + signed) == CHECKPOINT
    with pytest.raises(IntegrityError, match="no signature by this key"):
        parse(text + b"\n\n" + witness + stranger)


def test_the_number_of_signatures_is_limited() -> None:
    witness = NoteSignature("witness.example/w1", b"wit1", bytes(72)).line()
    most = LIMITS.note_signatures - 1
    assert parse(NOTE + witness * most) == CHECKPOINT
    with pytest.raises(LimitExceeded):
        parse(NOTE + witness * (most + 1))


def test_two_lines_by_our_key_are_refused() -> None:
    ours = NOTE.partition(b"\n\n")[2]
    later = checkpoint(time=TIME + 1).note().partition(b"\n\n")[2]
    for more in (ours, later):
        with pytest.raises(MalformedMessage, match="several"):
            parse(NOTE + more)


@pytest.mark.parametrize("size", [1, 7, 8, 64, 71, 73])
def test_a_signature_of_another_length_does_not_verify(size: int) -> None:
    content = (TIME.to_bytes(8, "big") + signature() + b"\0")[:size]
    line = NoteSignature(origin(VAULT), checkpoint_key(VAULT, PUBLIC).key_id, content).line()
    with pytest.raises(IntegrityError):
        parse(NOTE.partition(b"\n\n")[0] + b"\n\n" + line)


def test_a_checkpoint_cannot_be_made_without_verifying() -> None:
    with pytest.raises(ApiMisuse):
        Checkpoint(VAULT, 7, ROOT, TIME, signature(), PUBLIC, None)
    with pytest.raises((TypeError, ValueError)):
        dataclasses.replace(CHECKPOINT, size=8)  # type: ignore[call-arg]
    with pytest.raises(dataclasses.FrozenInstanceError):
        CHECKPOINT.size = 8  # type: ignore[misc]
    assert copy.copy(CHECKPOINT) == CHECKPOINT


# --- signed notes in general


def plain_note(text: bytes = b"a text\n", name: str = "example.com/x") -> bytes:
    named = VerifierKey(name, KeyKind.ED25519, PUBLIC)
    return text + b"\n" + NoteSignature(name, named.key_id, KEY.sign(text).signature).line()


def test_a_plain_ed25519_note_verifies_and_carries_no_time() -> None:
    key = VerifierKey("example.com/x", KeyKind.ED25519, PUBLIC)
    note = parse_signed_note(plain_note())
    assert note.text == b"a text\n"
    assert note.verify(key).time is None
    assert note.verify(key).signature == KEY.sign(b"a text\n").signature
    with pytest.raises(IntegrityError):
        note.verify(VerifierKey("example.com/x", KeyKind.COSIGNATURE, PUBLIC))
    with pytest.raises(IntegrityError):
        SignedNote(b"another\n", note.signatures).verify(key)


def test_a_text_may_hold_empty_lines() -> None:
    # The last empty line parts text and signatures, so a text cannot smuggle signatures in.
    text = b"a\n\nb\n"
    assert parse_signed_note(plain_note(text)).text == text
    inner = plain_note(text) + b"\n\xe2\x80\x94 x/y " + base64.b64encode(bytes(70)) + b"\n"
    assert parse_signed_note(inner).signatures[0].name == "x/y"


LINE = "\u2014 name AAAAAAA="


def test_the_control_line_is_taken() -> None:
    assert parse_signed_note(f"text\n\n{LINE}\n".encode()).signatures == (
        NoteSignature("name", bytes(4), b"\0"),
    )


@pytest.mark.parametrize(
    "note",
    [
        "",
        "text\n",
        "text\n\n",
        f"text\n{LINE}\n",
        f"text\n\n{LINE}",
        f"text\n\n{LINE}\n{LINE}",
        f"\n\n{LINE}\n",
        f"text\n\n {LINE}\n",
        f"text\n\n{LINE} \n",
        f"text\n\n{LINE}\n\n",
        f"text\n\n{LINE}\nmore\n",
        f"te\txt\n\n{LINE}\n",
        f"te\rxt\n\n{LINE}\n",
        f"te\0xt\n\n{LINE}\n",
        "text\n\n- name AAAAAAA=\n",
        "text\n\n\u2014name AAAAAAA=\n",
        "text\n\n\u2014  AAAAAAA=\n",
        "text\n\n\u2014 AAAAAAA=\n",
        "text\n\n\u2014 na+me AAAAAAA=\n",
        "text\n\n\u2014 na\u00a0me AAAAAAA=\n",
        "text\n\n\u2014 name AAAAAAA\n",
        "text\n\n\u2014 name AAAAAA==\n",
        "text\n\n\u2014 name AAAAAAB=\n",
        "text\n\n\u2014 name AAAA-AA=\n",
        "text\n\n\u2014 name \n",
        "text\n\n\u2014 name é\n",
    ],
)
def test_anything_else_is_no_note(note: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_signed_note(note.encode())


def test_a_note_is_utf_8_and_of_limited_size() -> None:
    with pytest.raises(MalformedMessage, match="UTF-8"):
        parse_signed_note(b"t\xff" + plain_note())
    most = LIMITS.note_bytes
    long = plain_note(b"x" * (most - len(plain_note()) + 6) + b"\n")
    assert len(long) == most
    assert len(parse_signed_note(long).signatures) == 1
    with pytest.raises(LimitExceeded):
        parse_signed_note(b"x" + long)


@given(
    st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode(errors="replace"))
)
def test_arbitrary_bytes_give_a_reason(data: bytes) -> None:
    with pytest.raises((MalformedMessage, LimitExceeded)):
        parse_note(data, VAULT, PUBLIC)


@given(st.binary(max_size=60))
def test_base64_has_one_form(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert parse_base64(text) == data
    for other in (text + "=", text + "\n", " " + text, text.rstrip("=") + "!"):
        with pytest.raises(MalformedMessage):
            parse_base64(other)


def vkey(name: str = "example.com/x", kind: int = 1, key: bytes = PUBLIC) -> str:
    made = VerifierKey(name, KeyKind(kind), key)
    return f"{name}+{made.key_id.hex()}+{base64.b64encode(bytes([kind]) + key).decode()}"


def test_a_verifier_key_parses() -> None:
    for kind in KeyKind:
        assert VerifierKey.parse(vkey(kind=kind)) == VerifierKey("example.com/x", kind, PUBLIC)
    for name in ("b\u00fccher", "\uff21", "\U0001f511"):
        assert VerifierKey.parse(vkey(name)).name == name


def test_a_weak_verifier_key_is_refused() -> None:
    with pytest.raises(WeakKey):
        VerifierKey.parse(vkey(key=(1).to_bytes(32, "little")))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+00000000",
        vkey().replace("example.com/x", "example.com/y"),
        vkey().replace("example.com/x", ""),
        vkey().replace("example.com/x", "exam ple"),
        vkey().replace("example.com/x", "exam\ud800ple"),  # no text at all
        vkey().upper(),
        vkey() + "+",
        vkey() + "=",
        vkey()[:-4],
        vkey().partition("+")[0] + "+0000000g+" + vkey().rpartition("+")[2],
        vkey().rpartition("+")[0] + "+" + base64.b64encode(b"\2" + PUBLIC).decode(),
        vkey().rpartition("+")[0] + "+" + base64.b64encode(b"\4" + PUBLIC).decode(),
    ],
)
def test_any_other_verifier_key_is_malformed(text: str) -> None:
    with pytest.raises(MalformedMessage):
        VerifierKey.parse(text)
