"""Whatever bytes come, a parser gives the one value that they encode, or an error of ours.

This is a slice of `make fuzz`, always the same: the whole corpus, and some inputs grown of it.
"""

from __future__ import annotations

import random
import time

import pytest

from protocol.errors import MalformedMessage, NotFound, Unsupported
from protocol.limits import MIB
from tests.fuzzing import running
from tests.fuzzing.changing import MOST_BYTES, changed
from tests.fuzzing.parsers import PARSERS, Parser
from tests.fuzzing.running import CORPUS, MORE_MEMORY, Report, corpus_file, corpus_of, fuzzed

INPUTS = 400
SLOW = {"csv": 60, "words": 120}
"""Fewer inputs for those that read files, or look words up."""
MOST_MIB = 96


@pytest.mark.threat("R19")
@pytest.mark.parametrize("name", PARSERS)
def test_every_parser_gives_a_value_or_an_error_of_ours(name: str) -> None:
    pool = corpus_of(name)
    inputs = SLOW.get(name, INPUTS)
    report = fuzzed(PARSERS[name], pool, 1, inputs=inputs, seconds=300)
    assert report.wrong == []
    assert report.inputs == inputs + len(pool)
    assert 0 < report.values < report.inputs
    assert sum(report.refused.values()) == report.inputs - report.values
    assert report.grown_mib <= MOST_MIB


def test_the_corpus_is_of_the_parsers_that_there_are() -> None:
    assert {path.name for path in CORPUS.iterdir()} == {corpus_file(name).name for name in PARSERS}
    sizes = [len(data) for name in PARSERS for data in corpus_of(name)]
    assert sum(sizes) < MIB
    for name in PARSERS:
        inputs = corpus_of(name)
        assert len(set(inputs)) == len(inputs)


def test_the_same_seed_grows_the_same_inputs() -> None:
    pool = corpus_of("act")
    for seed in range(200):
        made = changed(pool, random.Random(seed))
        assert made == changed(pool, random.Random(seed))
        assert len(made) <= MOST_BYTES
    assert len({changed(pool, random.Random(seed)) for seed in range(200)}) > 190


# --- a fuzzer that finds nothing proves nothing


def ran(parser: Parser, inputs: int = 300) -> Report:
    return fuzzed(parser, [b"\x01\x02\x03\x04"], 1, inputs=inputs, seconds=60)


def test_what_is_no_error_of_ours_is_found() -> None:
    def careless(data: bytes) -> None:
        if data[1] == 9:  # and an index out of range for what is short
            raise MalformedMessage("nine")

    wrong = {what.partition(":")[0] for what, _ in ran(careless).wrong}
    assert wrong == {"IndexError"}


def test_another_encoding_is_found() -> None:
    assert {what for what, _ in ran(lambda data: data.rstrip(b"\0")).wrong} == {
        "it encodes to other bytes"
    }


def test_an_endless_recursion_is_found() -> None:
    def deep(data: bytes) -> None:
        if data[:1] == b"\x01":
            return
        deep(data)

    assert {what.partition(":")[0] for what, _ in ran(deep).wrong} == {"RecursionError"}


def test_what_takes_too_much_memory_is_found() -> None:
    def greedy(data: bytes) -> None:
        if len(data) > 4:
            bytes(2 * MORE_MEMORY)

    assert {what.partition(":")[0] for what, _ in ran(greedy).wrong} == {"MemoryError"}


def test_what_takes_too_long_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "INPUT_SECONDS", 0.05)

    def slow(data: bytes) -> None:
        if len(data) == 7:
            time.sleep(20)

    assert {what.partition(":")[0] for what, _ in ran(slow).wrong} == {"TooSlow"}


def test_what_ends_the_process_is_found_with_its_input() -> None:
    def fatal(data: bytes) -> None:
        if data[:2] != b"\x01\x02":
            raise SystemExit(3)

    ((what, data),) = ran(fatal).wrong
    assert "ended with" in what
    assert bytes.fromhex(data)[:2] != b"\x01\x02"


def test_where_something_new_was_refused_more_is_grown() -> None:
    """Three right bytes are found one after the other; together they are one in 16 million."""

    def gated(data: bytes) -> None:
        for at, byte in enumerate(b"gat"):
            if data[at : at + 1] != bytes((byte,)):
                raise (MalformedMessage, NotFound, Unsupported)[at]("refused")

    report = fuzzed(gated, [b"xxxx"], 1, inputs=30_000, seconds=120)
    assert report.values > 0
    assert report.wrong == []
