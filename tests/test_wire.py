from __future__ import annotations

import copy
import dataclasses
import sys
import tracemalloc
from dataclasses import field
from enum import Enum, IntEnum, StrEnum
from types import FrameType
from typing import Annotated, Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from protocol import encoding
from protocol.errors import (
    ApiMisuse,
    IntegrityError,
    LimitExceeded,
    MalformedMessage,
    NonCanonical,
    SealroomError,
    WeakKey,
)
from protocol.labels import Label
from protocol.limits import LIMITS
from protocol.signing import pae
from protocol.wire import (
    Blob,
    Choice,
    Codec,
    Envelope,
    Fixed,
    Flag,
    ListOf,
    Maybe,
    OneOf,
    Parsed,
    Plain,
    Text,
    Uint,
    Value,
    decode,
    encode,
    from_bytes,
    pack,
    record,
    to_bytes,
    unpack,
)

ROOM = 1 << 20


def read(data: bytes) -> Value:
    return decode(data, max_bytes=ROOM)


# --- the encoding of plain values

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | texts | st.binary(max_size=300)
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=20).map(tuple) | st.dictionaries(texts, inner, max_size=6)
    ),
    max_leaves=30,
)


def same(one: Any, other: Any) -> bool:
    """Equal in type too, all the way down: True is not 1."""
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


@given(values)
def test_what_is_encoded_decodes_to_the_same(value: Any) -> None:
    assert same(read(encode(value)), value)


@given(st.dictionaries(texts, st.integers(0, 9), min_size=2))
def test_the_order_of_a_map_does_not_show(mapping: dict[str, int]) -> None:
    turned = dict(reversed(list(mapping.items())))
    assert encode(turned) == encode(mapping)


def test_lists_and_tuples_are_the_same_array() -> None:
    assert encode([1, [2]]) == encode((1, (2,))) == b"\x92\x01\x91\x02"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "c0"),
        (False, "c2"),
        (True, "c3"),
        (127, "7f"),
        (128, "cc80"),
        (255, "ccff"),
        (256, "cd0100"),
        (65_536, "ce00010000"),
        (2**32, "cf0000000100000000"),
        (2**64 - 1, "cfffffffffffffffff"),
        (-1, "ff"),
        (-32, "e0"),
        (-33, "d0df"),
        (-128, "d080"),
        (-129, "d1ff7f"),
        (-32_769, "d2ffff7fff"),
        (-(2**31) - 1, "d3ffffffff7fffffff"),
        (-(2**63), "d38000000000000000"),
        ("", "a0"),
        ("\U0001f600", "a4f09f9880"),
        (b"", "c400"),
        ((), "90"),
        ({}, "80"),
        ({"b": 1, "a": 2, "aa": 3}, "83a16102a2616103a16201"),
    ],
)
def test_each_value_has_this_form(value: Any, written: str) -> None:
    assert encode(value).hex() == written
    assert same(read(bytes.fromhex(written)), value)


@pytest.mark.parametrize("length", [0, 31, 32, 255, 256, 4096])
def test_text_of_every_width(length: int) -> None:
    assert read(encode("x" * length)) == "x" * length


@pytest.mark.parametrize("length", [0, 255, 256, 65_535, 65_536])
def test_bytes_of_every_width(length: int) -> None:
    assert read(encode(bytes(length))) == bytes(length)


@pytest.mark.parametrize("length", [0, 15, 16, 65_535, 65_536])
def test_arrays_of_every_width(length: int) -> None:
    assert read(encode((None,) * length)) == (None,) * length


@pytest.mark.parametrize("length", [0, 15, 16, 65_536])
def test_maps_of_every_width(length: int) -> None:
    mapping: Value = {f"{number:05}": number for number in range(length)}
    assert read(encode(mapping)) == mapping


@pytest.mark.parametrize(
    "longer",
    [
        "cc7f", "cd00ff", "ce0000ffff", "cf00000000ffffffff",
        "d07f", "d000", "d0e0", "d0ff", "d1007f", "d1ff80", "d10080", "d2ffff8000", "d200000001",
        "d3ffffffff80000000", "d37fffffffffffffff",
        "d900", "d91f" + "61" * 31, "da00ff" + "61" * 255, "db0000ffff" + "61" * 65_535,
        "c50000", "c500ff" + "00" * 255, "c600000000", "c60000ffff" + "00" * 65_535,
        "dc0000", "dc000f" + "c0" * 15, "dd00000000", "dd0000ffff" + "c0" * 65_535,
        "de0000", "df00000000",
        "82a16200a16100", "82a16100a16100", "82a2616100a16100",
    ],
)  # fmt: skip
def test_any_other_form_of_a_value_is_not_canonical(longer: str) -> None:
    with pytest.raises(NonCanonical):
        read(bytes.fromhex(longer))
    # The scan finds it by itself, before any object is made.
    with pytest.raises(NonCanonical):
        encoding._Scan(bytes.fromhex(longer)).whole()


NOT_UTF_8 = ("a1ff", "a3eda080", "a2c080", "81a1ff00")


@pytest.mark.parametrize(
    "broken",
    [
        "", "c1", "92c0", "81", "81a161", "8100c0", "81c400c0", "cc", "cd01", "a261", "c402aa",
        "d9", "d920", "dcffff", "ddffffffff", "dfffffffff", "c6ffffffff", "db7fffffff",
        "c0c0", "00ff", *NOT_UTF_8,
        "ca3f800000", "cb3ff0000000000000", "d40100", "d6ff00000000", "c70001",
        "c70cff" + "00" * 12, "c80001", "c900000001", "d801" + "00" * 16,
    ],
)  # fmt: skip
def test_bytes_that_are_no_value_are_malformed(broken: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        read(bytes.fromhex(broken))
    assert type(caught.value) is MalformedMessage
    if broken not in NOT_UTF_8:
        with pytest.raises(MalformedMessage):
            encoding._Scan(bytes.fromhex(broken)).whole()


@given(st.binary(max_size=200))
def test_arbitrary_bytes_give_a_value_or_a_reason(data: bytes) -> None:
    try:
        value = read(data)
    except (MalformedMessage, LimitExceeded):
        return
    assert encode(value) == data


@given(values, st.integers(0, 255), st.randoms(use_true_random=False))
def test_whatever_parses_after_a_change_encodes_to_the_same_bytes(
    value: Any, byte: int, random: Any
) -> None:
    data = bytearray(encode(value))
    data[random.randrange(len(data))] = byte
    try:
        changed = read(bytes(data))
    except (MalformedMessage, LimitExceeded):
        return
    assert encode(changed) == bytes(data)


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_message_that_is_cut_short_is_malformed(cut: int) -> None:
    data = encode({"key": (1, 300, "text")})
    assert len(data) == 15
    with pytest.raises(MalformedMessage):
        read(data[:-cut])


def test_the_cap_on_bytes_comes_first() -> None:
    assert decode(b"\xc0", max_bytes=1) is None
    with pytest.raises(LimitExceeded):
        decode(b"\xc1\xc1", max_bytes=1)


def test_depth_is_limited_both_ways() -> None:
    deepest: Value = ()
    for _ in range(LIMITS.message_depth - 1):
        deepest = (deepest,)
    assert read(encode(deepest)) == deepest
    for deeper in ((deepest,), [deepest], {"k": deepest}):
        with pytest.raises(LimitExceeded):
            encode(deeper)
    for _ in range(5_000):  # deeper than Python itself can go
        deepest = (deepest,)
    with pytest.raises(LimitExceeded):
        encode(deepest)
    with pytest.raises(LimitExceeded):
        read(b"\x91" * LIMITS.message_depth + b"\x90")
    with pytest.raises(LimitExceeded):
        read(b"\x81\xa0" * LIMITS.message_depth + b"\x80")


def test_elements_are_limited_both_ways() -> None:
    # Every value counts, the outermost, the containers and the keys of maps too.
    most = LIMITS.message_elements
    array = b"\xdd" + (most - 1).to_bytes(4, "big") + b"\xc0" * (most - 1)
    assert len(array) == len(encode((None,) * (most - 1)))
    assert len(read(array)) == most - 1  # type: ignore[arg-type]
    with pytest.raises(LimitExceeded):
        encode((None,) * most)
    with pytest.raises(LimitExceeded):
        read(b"\xdd" + most.to_bytes(4, "big") + b"\xc0" * most)
    pairs = most // 2
    with pytest.raises(LimitExceeded):
        read(b"\xdf" + pairs.to_bytes(4, "big") + b"\xa0\xc0" * pairs)


def test_text_is_limited_both_ways() -> None:
    long = "x" * (LIMITS.text_bytes + 1)
    for value in (long, {long: 1}):
        with pytest.raises(LimitExceeded):
            encode(value)
        with pytest.raises(LimitExceeded):
            read(msgpack.packb(value))
    assert read(encode(long[1:])) == long[1:]


def test_a_megabyte_of_empty_maps_is_refused_before_any_is_made() -> None:
    count = ROOM - 5
    bomb = b"\xdd" + count.to_bytes(4, "big") + b"\x80" * count
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceeded):
            read(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 16


class Number(int):
    pass


@pytest.mark.parametrize(
    "value",
    [1.0, {1}, object(), bytearray(1), Number(1), Label.ACT, {1: 2}, {b"k": 2}, ((1.5,),),
     2**64, -(2**63) - 1, [{"a": 2**64}]],
)  # fmt: skip
def test_what_has_no_form_is_our_own_mistake(value: Any) -> None:
    with pytest.raises(ApiMisuse):
        encode(value)


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, ("a\udc80",)])
def test_a_lone_surrogate_is_malformed(value: Any) -> None:
    with pytest.raises(MalformedMessage, match="surrogate"):
        encode(value)


def test_the_library_disagreeing_with_the_scan_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encoding._Scan, "whole", lambda scan: None)
    with pytest.raises(NonCanonical, match="encoding the decoded value again"):
        read(b"\xcd\x00\x01")


def test_decoding_costs_in_proportion_to_what_there_is() -> None:
    few, many = calls_to_decode(340), calls_to_decode(3_400)
    assert many < 10.1 * few
    assert many < 3_400 * 200  # and little for each rule, whatever the machine's mood


def calls_to_decode(rules: int) -> int:
    grant = Grant(bytes(32), Role.ADMIN, True, tuple(rule(number) for number in range(rules)))
    data = to_bytes(grant)
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    earlier = sys.getprofile()
    sys.setprofile(count)
    try:
        decoded = from_bytes(Grant, data)
    finally:
        sys.setprofile(earlier)
    assert len(decoded.rules) == rules
    return calls


# --- records


class Role(Enum):
    OWNER = 1
    ADMIN = 2


class Word(StrEnum):
    YES = "yes"


class Level(IntEnum):
    LOW = 0
    HIGH = 1


@record
class Rule:
    class_: Annotated[int, Uint(255)]
    collection: Annotated[bytes | None, Maybe(Fixed(16))]


@record
class Grant:
    member: Annotated[bytes, Fixed(32)]
    role: Role
    final: bool
    rules: Annotated[tuple[Rule, ...], ListOf(Rule, 4096, ascending=True)]


def rule(number: int) -> Rule:
    return Rule(7, number.to_bytes(16, "big"))


GRANT = Grant(bytes(32), Role.ADMIN, False, (Rule(1, None), rule(5)))
PLAIN: tuple[Value, ...] = (bytes(32), 2, False, ((1, None), (7, (5).to_bytes(16, "big"))))

rules = st.builds(Rule, st.integers(0, 255), st.none() | st.binary(min_size=16, max_size=16))
grants = st.builds(
    Grant,
    st.binary(min_size=32, max_size=32),
    st.sampled_from(Role),
    st.booleans(),
    st.lists(rules, max_size=5, unique=True).map(
        lambda some: tuple(sorted(some, key=lambda one: to_bytes(one)))
    ),
)


def test_a_record_travels_as_the_array_of_its_fields() -> None:
    assert same(pack(GRANT), PLAIN)
    assert same(unpack(Grant, PLAIN), GRANT)
    assert to_bytes(GRANT) == encode(PLAIN)


@given(grants)
def test_records_round_trip(grant: Grant) -> None:
    assert from_bytes(Grant, to_bytes(grant)) == grant


@given(grants, st.integers(1, 255), st.randoms(use_true_random=False))
def test_a_changed_record_is_another_record_or_refused(
    grant: Grant, change: int, random: Any
) -> None:
    data = bytearray(to_bytes(grant))
    data[random.randrange(len(data))] ^= change
    try:
        other = from_bytes(Grant, bytes(data))
    except (MalformedMessage, LimitExceeded):
        return
    assert other != grant
    assert to_bytes(other) == bytes(data)


def test_a_record_is_frozen_and_has_no_other_attributes() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        GRANT.final = True  # type: ignore[misc]
    assert not hasattr(GRANT, "__dict__")


def changed(place: int, value: Value) -> Value:
    plain = list(PLAIN)
    plain[place] = value
    return tuple(plain)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (PLAIN[:3], "grant: must be a list of 4 fields"),
        ((*PLAIN, None), "grant: must be a list of 4 fields"),
        (None, "grant: must be a list of 4 fields"),
        ({}, "grant: must be a list of 4 fields"),
        (changed(0, bytes(31)), "grant.member: must be 32 bytes"),
        (changed(0, "x" * 32), "grant.member: must be 32 bytes"),
        (changed(1, 3), "grant.role: is no known role"),
        (changed(1, True), "grant.role: is no known role"),
        (changed(1, "2"), "grant.role: is no known role"),
        (changed(1, {}), "grant.role: is no known role"),
        (changed(2, 1), "grant.final: must be true or false"),
        (changed(3, None), "grant.rules: must be a list"),
        (changed(3, ((1, None), (256, None))), "grant.rules[1].class: must be an integer from 0 t"),
        (changed(3, ((True, None),)), "grant.rules[0].class: must be an integer from 0 to 255"),
        (changed(3, ((-1, None),)), "grant.rules[0].class: must be an integer from 0 to 255"),
        (changed(3, ((1, b""),)), "grant.rules[0].collection: must be 16 bytes"),
        (changed(3, ((1,),)), "grant.rules[0]: must be a list of 2 fields"),
        (changed(3, ((2, None), (1, None))), "grant.rules[1]: must be in ascending order"),
        (changed(3, ((1, None), (1, None))), "grant.rules[1]: must be in ascending order"),
    ],
)
def test_a_refusal_names_the_place(value: Value, message: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        unpack(Grant, value)
    assert str(caught.value).startswith(message)


def test_a_refusal_never_shows_the_value() -> None:
    secret = b"correct horse battery staple"
    for field_name in ("member", "role", "final", "rules"):
        wrong = {**{f.name: getattr(GRANT, f.name) for f in dataclasses.fields(Grant)}}
        wrong[field_name] = secret
        with pytest.raises(ApiMisuse) as caught:
            to_bytes(Grant(**wrong))
        assert "horse" not in str(caught.value)


def test_packing_a_wrong_value_is_our_own_mistake() -> None:
    wrong = Grant(bytes(31), Role.ADMIN, False, ())
    with pytest.raises(ApiMisuse, match=r"^grant\.member: must be 32 bytes$"):
        to_bytes(wrong)
    nested: Any = Grant(bytes(32), Role.ADMIN, False, (Rule(300, None),))
    with pytest.raises(ApiMisuse, match=r"^grant\.rules\[0\]\.class: "):
        pack(nested)
    unfit: Any
    for unfit in ([], (GRANT,), (Rule(2, None), Rule(1, None))):
        with pytest.raises(ApiMisuse, match=r"^grant\.rules"):
            pack(Grant(bytes(32), Role.ADMIN, False, unfit))
    with pytest.raises(ApiMisuse, match=r"^grant\.role: must be a Role$"):
        pack(Grant(bytes(32), 2, False, ()))  # type: ignore[arg-type]


def test_bytes_of_a_record_are_capped() -> None:
    data = to_bytes(GRANT)
    assert from_bytes(Grant, data, max_bytes=len(data)) == GRANT
    with pytest.raises(LimitExceeded):
        from_bytes(Grant, data, max_bytes=len(data) - 1)


class Parity:
    """A type with a parser of its own that takes two encodings for one value."""

    def __init__(self, odd: bool) -> None:
        self.odd = odd

    def __bytes__(self) -> bytes:
        return bytes([self.odd])

    @classmethod
    def from_bytes(cls, data: bytes) -> Parity:
        if data == b"\xff":
            raise WeakKey("no parity at all", hint="use another")
        return cls(bool(data[0] & 1))


@record
class Everything:
    blob: Annotated[bytes, Blob(4, 1)]
    text: Annotated[str, Text(4, 1)]
    count: Annotated[int, Uint(9, 3)]
    word: Word
    level: Annotated[Level, OneOf(Level)]
    label: Annotated[Label, "documentation may stand here too", OneOf(Label)]
    flags: Annotated[tuple[bool, ...], ListOf(Flag, 2, 1)]
    unique: Annotated[tuple[str, ...], ListOf(Text(), 3, unique=True)]
    ordered: Annotated[tuple[int, ...], ListOf(Uint(2**64 - 1), 4, ascending=True)]
    parity: Annotated[Parity, Parsed(Parity.__bytes__, Parity.from_bytes, 1)]
    parities: Annotated[
        tuple[Parity, ...], ListOf(Parsed(bytes, Parity.from_bytes, 1), 2, ascending=True)
    ]
    nested: Rule
    maybe: Annotated[Rule | None, Maybe(Rule)]
    either: Annotated[Rule | Grant, Choice({"rule": Rule, "grant": Grant})]
    plain: Annotated[Value, Plain()]
    hashes: Annotated[tuple[bytes, ...], ListOf(Fixed(1), 3, ascending=True)]
    note: Annotated[bytes, Fixed(1)] = field(default=b"n", repr=False)


SAMPLE = Everything(
    b"blob", "text", 3, Word.YES, Level.HIGH, Label.ACT, (True,), ("b", "a"), (1, 200, 70_000),
    Parity(True), (Parity(False), Parity(True)), Rule(1, None), None, GRANT, {"any": ("value",)},
    (b"a", b"b"),
)  # fmt: skip
SAMPLE_PLAIN = pack(SAMPLE)
FIELDS = [one.name for one in dataclasses.fields(Everything)]


def test_every_codec_round_trips() -> None:
    assert isinstance(SAMPLE_PLAIN, tuple)
    assert SAMPLE_PLAIN[3:6] == ("yes", 1, Label.ACT.value)
    assert type(SAMPLE_PLAIN[5]) is bytes
    assert SAMPLE_PLAIN[13] == ("grant", PLAIN)
    again = from_bytes(Everything, to_bytes(SAMPLE))
    assert again.label is Label.ACT
    assert again.level is Level.HIGH
    assert again.parity.odd
    assert again.either == GRANT
    assert to_bytes(again) == to_bytes(SAMPLE)
    assert "note" not in repr(again)


@pytest.mark.parametrize(
    ("name", "value", "error", "reason"),
    [
        ("blob", b"", MalformedMessage, "has 0 bytes, at least 1 are needed"),
        ("blob", bytes(5), LimitExceeded, "has 5 bytes, at most 4 are allowed"),
        ("blob", "text", MalformedMessage, "must be bytes"),
        ("text", "", MalformedMessage, "has 0 bytes of text, at least 1 are needed"),
        ("text", "ééé", LimitExceeded, "has 6 bytes of text, at most 4 are allowed"),
        ("text", b"b", MalformedMessage, "must be text"),
        ("text", None, MalformedMessage, "must be text"),
        ("count", 2, MalformedMessage, "must be an integer from 3 to 9"),
        ("count", 10, MalformedMessage, "must be an integer from 3 to 9"),
        ("word", "no", MalformedMessage, "is no known word"),
        ("level", True, MalformedMessage, "is no known level"),
        ("level", False, MalformedMessage, "is no known level"),
        ("label", Label.ACT.value.decode(), MalformedMessage, "is no known label"),
        ("label", b"sealroom/v1/ac", MalformedMessage, "is no known label"),
        ("flags", (), MalformedMessage, "has 0 items, at least 1 are needed"),
        ("flags", (True,) * 3, LimitExceeded, "has 3 items, at most 2 are allowed"),
        ("unique", ("a", "b", "a"), MalformedMessage, "must not repeat an item"),
        ("parity", b"", MalformedMessage, "must be 1 bytes"),
        ("parity", b"\x03", NonCanonical, "has another encoding"),
        ("parity", b"\xff", WeakKey, "no parity at all"),
        ("hashes", (b"a", b""), MalformedMessage, "must be 1 bytes"),
        ("nested", None, MalformedMessage, "must be a list of 2 fields"),
        ("either", ("rule",), MalformedMessage, "must be a tag and a record"),
        ("either", None, MalformedMessage, "must be a tag and a record"),
        ("either", ("grunt", PLAIN), MalformedMessage, "has an unknown tag"),
        ("either", ((), PLAIN), MalformedMessage, "has an unknown tag"),
        ("either", ({}, PLAIN), MalformedMessage, "has an unknown tag"),
    ],
)
def test_every_codec_refuses(
    name: str, value: Value, error: type[SealroomError], reason: str
) -> None:
    assert isinstance(SAMPLE_PLAIN, tuple)
    wrong = list(SAMPLE_PLAIN)
    wrong[FIELDS.index(name)] = value
    with pytest.raises(error) as caught:
        unpack(Everything, tuple(wrong))
    assert type(caught.value) is error
    assert str(caught.value) == f"everything.{name}{'[1]' * (name == 'hashes')}: {reason}"


def test_lower_places_are_named_within_choices_and_lists() -> None:
    assert isinstance(SAMPLE_PLAIN, tuple)
    wrong = list(SAMPLE_PLAIN)
    wrong[13] = ("grant", changed(0, None))
    with pytest.raises(MalformedMessage, match=r"^everything\.either\.member: "):
        unpack(Everything, tuple(wrong))
    wrong = list(SAMPLE_PLAIN)
    wrong[10] = (b"\x01", b"\x00")
    with pytest.raises(MalformedMessage, match=r"^everything\.parities\[1\]: must be in asc"):
        unpack(Everything, tuple(wrong))


def test_the_hint_and_the_cause_of_a_parser_survive() -> None:
    assert isinstance(SAMPLE_PLAIN, tuple)
    wrong = list(SAMPLE_PLAIN)
    wrong[9] = b"\xff"
    with pytest.raises(WeakKey) as caught:
        unpack(Everything, tuple(wrong))
    assert caught.value.hint == "use another"
    assert isinstance(caught.value.__cause__, WeakKey)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"text": "\ud800"}, MalformedMessage),
        ({"text": "too long"}, LimitExceeded),
        ({"count": True}, ApiMisuse),
        ({"either": SAMPLE}, ApiMisuse),
        ({"nested": GRANT}, ApiMisuse),
        ({"unique": ("a", "a")}, ApiMisuse),
    ],
)
def test_packing_blames_whoever_gave_the_value(
    change: dict[str, Any], error: type[Exception]
) -> None:
    wrong = dataclasses.replace(SAMPLE, **change)
    with pytest.raises(error) as caught:
        pack(wrong)
    assert str(caught.value).startswith(f"everything.{next(iter(change))}: ")


@given(st.lists(st.integers(0, 2**64 - 1), max_size=4, unique=True))
def test_ascending_integers_are_in_the_order_of_their_encodings(numbers: list[int]) -> None:
    by_value = sorted(numbers)
    assert by_value == sorted(numbers, key=encode)
    item = dataclasses.replace(SAMPLE, ordered=tuple(by_value))
    assert from_bytes(Everything, to_bytes(item)).ordered == tuple(by_value)


@record
class Span:
    start: Annotated[int, Uint(99)]
    end: Annotated[int, Uint(99)]

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise MalformedMessage("ends before it starts")


@record
class Spans:
    spans: Annotated[tuple[Span, ...], ListOf(Span, 9)]


def test_a_check_across_fields_is_part_of_parsing() -> None:
    assert unpack(Spans, (((1, 2),),)) == Spans((Span(1, 2),))
    with pytest.raises(MalformedMessage, match=r"^spans\.spans\[1\]: ends before it starts$"):
        unpack(Spans, (((1, 2), (2, 1)),))


@pytest.mark.parametrize("declared", [int, Annotated[int, "no codec"], Annotated[int, Flag, Flag]])
def test_a_field_without_one_codec_cannot_be_declared(declared: Any) -> None:
    with pytest.raises(ApiMisuse):
        record(type("Unclear", (), {"__annotations__": {"field": declared}}))
    with pytest.raises(ApiMisuse):
        record(type("Untyped", (), {"__annotations__": {"field": bytes | None}}))


def test_an_enum_whose_values_do_not_travel_cannot_be_declared() -> None:
    class Odd(Enum):
        HALF = 0.5

    with pytest.raises(ApiMisuse):
        OneOf(Odd)


def test_only_records_are_packed() -> None:
    with pytest.raises(ApiMisuse, match="bytes is not a record"):
        pack(b"bytes")
    with pytest.raises(ApiMisuse, match="bytes is not a record"):
        unpack(bytes, b"bytes")


def test_codecs_are_abstract() -> None:
    with pytest.raises(TypeError):
        Codec()  # type: ignore[abstract]


@given(st.binary(max_size=120))
@settings(max_examples=200)
def test_arbitrary_bytes_are_never_a_crash(data: bytes) -> None:
    for cls in (Grant, Envelope, Everything):
        try:
            value: object = from_bytes(cls, data)
        except (MalformedMessage, LimitExceeded, WeakKey):
            continue
        assert to_bytes(value) == data


# --- the signed envelope

KEY = SigningKey(bytes(32))
PUBLIC = bytes(KEY.verify_key)


def sealed(body: bytes, label: Label = Label.ACT) -> Envelope:
    return Envelope(label, body, KEY.sign(pae(label, body)).signature)


def test_an_envelope_gives_its_body_once_verified() -> None:
    envelope = from_bytes(Envelope, to_bytes(sealed(b"body")))
    assert envelope.verify(PUBLIC, Label.ACT) == b"body"


def test_an_envelope_of_another_type_does_not_verify() -> None:
    for signed, claimed, expected in (
        (Label.ACT, Label.ACT, Label.OBSERVATION),
        (Label.OBSERVATION, Label.ACT, Label.ACT),
        (Label.ACT, Label.OBSERVATION, Label.OBSERVATION),
    ):
        envelope = Envelope(claimed, b"body", sealed(b"body", signed).signature)
        with pytest.raises(IntegrityError):
            envelope.verify(PUBLIC, expected)


def test_any_changed_byte_of_an_envelope_is_noticed() -> None:
    data = to_bytes(sealed(b"some body"))
    for place in range(len(data)):
        for bit in (1, 0x80):
            broken = bytearray(data)
            broken[place] ^= bit
            with pytest.raises((MalformedMessage, IntegrityError)):
                from_bytes(Envelope, bytes(broken)).verify(PUBLIC, Label.ACT)


def test_another_key_does_not_verify_an_envelope() -> None:
    with pytest.raises(IntegrityError):
        sealed(b"body").verify(bytes(SigningKey(b"\1" * 32).verify_key), Label.ACT)


def test_records_copy_like_values() -> None:
    assert copy.deepcopy(GRANT) == GRANT
