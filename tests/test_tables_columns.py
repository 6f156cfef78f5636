from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from client.columns import Cells


def test_cells_are_read_back_one_by_one() -> None:
    cells = Cells.from_list([b"a", None, b"", b"xyz"], string_like=True)
    assert cells.count == 4
    assert [cells.cell(index) for index in range(4)] == [b"a", None, b"", b"xyz"]
    assert list(cells.offsets) == [0, 1, 1, 1, 4]


@pytest.mark.parametrize("wrap", [bytes, memoryview, lambda raw: np.frombuffer(raw, np.uint8)])
def test_any_buffer_holds_the_values(wrap: type) -> None:
    cells = Cells(wrap(b"abc"), np.array([0, 1, 3]), np.array([True, True]), False)
    assert cells.cell(1) == b"bc"


def test_no_cells_are_cells_too() -> None:
    assert Cells.from_list([], string_like=False).count == 0


@pytest.mark.parametrize(
    ("offsets", "valid", "reason"),
    [
        (np.array([0, 3], np.int32), np.array([True]), "int64"),
        (np.array([0, 3]), np.array([1]), "bool"),
        (np.array([0, 1, 3]), np.array([True]), "one entry more"),
        (np.array([[0, 3]]), np.array([True]), "one entry more"),
        (np.array([1, 3]), np.array([True]), "rise"),
        (np.array([0, 4]), np.array([True]), "rise"),
        (np.array([0, 2]), np.array([True]), "rise"),
        (np.array([0, 5, 3]), np.array([True, True]), "rise"),
        (np.array([0, 1, 3]), np.array([True, False]), "null"),
    ],
)
def test_another_shape_is_refused(offsets: np.ndarray, valid: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Cells(b"abc", offsets, valid, True)


def test_cells_neither_print_nor_travel() -> None:
    cells = Cells.from_list([b"secret"], string_like=True)
    assert repr(cells) == "Cells(count=1, bytes=6)"
    with pytest.raises(TypeError):
        pickle.dumps(cells)
    with pytest.raises(TypeError):
        copy.copy(cells)
