"""Arrow arrays to cells and back, without a Python object per cell (SPEC section 7).

Text is UTF-8, binary is raw, a fixed-width value is its little-endian Arrow bytes, a bool one
byte 0 or 1. Dictionary arrays become the values they stand for and are encoded again on the
way back. Bits are kept as they are: NaN payloads, the sign of zero, digits of a decimal.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from client.columns import Buffer, Cells
from client.tables.arrow_types import is_text, type_from_text, value_type, varies_in_length
from client.tables.errors import TableType
from protocol.errors import MalformedMessage

_LARGEST_OFFSET: Final = 2**31 - 1
VIEWS: Final = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
_NARROW: Final = (pa.string(), pa.binary())


def column_cells(array: pa.Array) -> Cells:
    """Turn one Arrow array, sliced or not, into cells (SPEC section 7).

    The caller owes an array that is valid (`array.validate(full=True)`) and of a type that
    `type_to_text` knows; every batch of a `Source` is. The result may share the array's memory.
    """
    flat = decoded(array)
    data_type = flat.type
    if pa.types.is_null(data_type):
        return Cells(b"", np.zeros(len(flat) + 1, np.int64), np.zeros(len(flat), np.bool_), False)
    valid = _validity(flat)
    if varies_in_length(data_type):
        return _variable(flat, valid)
    rows = _bits(flat) if pa.types.is_boolean(data_type) else _rows(flat)
    kept = rows if valid.all() else rows[valid]
    return Cells(kept.reshape(-1), _starts(valid * rows.shape[1]), valid, False)


def cells_to_array(cells: Cells, type_text: str) -> pa.Array:
    """Turn opened cells back into an Arrow array of the type that the catalog names.

    Everything is checked, for whoever sealed the cells may have lied: the type's text, the
    width of each value, UTF-8, ranges. The result may share the cells' memory.
    Raises: MalformedMessage.
    """
    try:
        data_type = type_from_text(type_text)
        values = _array(cells, value_type(data_type))
        values.validate(full=True)
        return encoded(values, data_type) if pa.types.is_dictionary(data_type) else values
    except (TableType, pa.ArrowException):
        raise MalformedMessage("cells that are not values of their column's type") from None


def encoded(values: pa.Array, data_type: pa.DataType) -> pa.Array:
    """Encode values as the dictionary type named, each distinct bit pattern once.

    Raises: pyarrow.ArrowInvalid if there are more distinct values than the indices can count.
    """
    if pa.types.is_null(values.type):
        indices = pa.nulls(len(values), data_type.index_type)
        return pa.DictionaryArray.from_arrays(indices, values[:0], ordered=data_type.ordered)
    dictionary = _comparable(values).dictionary_encode()
    distinct = dictionary.dictionary
    if data_type.value_type in VIEWS:
        distinct = distinct.cast(data_type.value_type)
    elif distinct.type != data_type.value_type:
        distinct = distinct.view(data_type.value_type)
    indices = dictionary.indices.cast(data_type.index_type)
    return pa.DictionaryArray.from_arrays(indices, distinct, ordered=data_type.ordered)


def decoded(array: pa.Array) -> pa.Array:
    """Return the values of a dictionary array, and views as arrays with offsets."""
    if pa.types.is_dictionary(array.type):
        values = contiguous(array.dictionary)
        return pa.DictionaryArray.from_arrays(array.indices, values).dictionary_decode()
    return contiguous(array)


def contiguous(values: pa.Array) -> pa.Array:
    """Return text or binary views as arrays with offsets, and any other array as it is."""
    return values.cast(VIEWS[values.type]) if values.type in VIEWS else values


def taken(batch: pa.RecordBatch, rows: pa.Array) -> pa.RecordBatch:
    """Return the rows of a batch at these positions; of views too, which Arrow cannot take from."""
    columns = [
        contiguous(column).take(rows).cast(column.type) if column.type in VIEWS
        else column.take(rows)
        for column in batch.columns
    ]  # fmt: skip
    return pa.record_batch(columns, schema=batch.schema)


def _comparable(viewed: pa.Array) -> pa.Array:
    """Give values whose equality is that of their bits: NaNs differ, and so do the two zeros."""
    values = contiguous(viewed)
    if varies_in_length(values.type) or values.type.bit_width < 8:
        return values
    return values.view(pa.binary(values.type.bit_width // 8))


def _validity(array: pa.Array) -> npt.NDArray[np.bool_]:
    bitmap = array.buffers()[0]
    if bitmap is None:
        return np.ones(len(array), np.bool_)
    return _unpacked(bitmap, array.offset, len(array)).view(np.bool_)


def _unpacked(bitmap: pa.Buffer, offset: int, count: int) -> npt.NDArray[np.uint8]:
    """Bits from `offset` on as bytes 0 or 1; only the bytes that hold them are unpacked."""
    first = offset // 8
    packed = np.frombuffer(bitmap, np.uint8)[first : (offset + count + 7) // 8]
    bits = np.unpackbits(packed, bitorder="little")
    return bits[offset - 8 * first : offset - 8 * first + count]


def _bits(array: pa.Array) -> npt.NDArray[np.uint8]:
    return _unpacked(array.buffers()[1], array.offset, len(array)).reshape(-1, 1)


def _rows(array: pa.Array) -> npt.NDArray[np.uint8]:
    width = array.type.bit_width // 8
    flat = np.frombuffer(array.buffers()[1] or b"", np.uint8)
    return flat[array.offset * width : (array.offset + len(array)) * width].reshape(-1, width)


def _variable(array: pa.Array, valid: npt.NDArray[np.bool_]) -> Cells:
    starts = _value_starts(array)
    if np.diff(starts)[~valid].any():  # Arrow lets a null keep bytes; a null cell has none
        starts = _value_starts(array := array.drop_null())
        widths = np.zeros(len(valid), np.int64)
        widths[valid] = np.diff(starts)
    else:
        widths = np.diff(starts)
    joined = np.frombuffer(array.buffers()[2] or b"", np.uint8)[starts[0] : starts[-1]]
    return Cells(joined, _starts(widths), valid, True)


def _value_starts(array: pa.Array) -> npt.NDArray[np.int64]:
    raw = array.buffers()[1]
    if not len(array):  # Arrow lets an empty array leave its offsets out
        return np.zeros(1, np.int64)
    kind = np.int32 if array.type in _NARROW else np.int64
    counted = np.frombuffer(raw, kind)[array.offset : array.offset + len(array) + 1]
    return counted.astype(np.int64, copy=False)


def _starts(widths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    offsets = np.zeros(len(widths) + 1, np.int64)
    np.cumsum(widths, out=offsets[1:])
    return offsets


def _array(cells: Cells, data_type: pa.DataType) -> pa.Array:
    if pa.types.is_null(data_type):
        _demand(not cells.valid.any())
        return pa.nulls(cells.count)
    if varies_in_length(data_type):
        return _variable_array(cells, data_type)
    boolean = pa.types.is_boolean(data_type)
    width = 1 if boolean else data_type.bit_width // 8
    _demand(bool((np.diff(cells.offsets)[cells.valid] == width).all()))
    rows = np.zeros((cells.count, width), np.uint8)
    rows[cells.valid] = _bytes(cells.values).reshape(-1, width)
    if boolean:
        _demand(bool((rows <= 1).all()))
        rows = np.packbits(rows.reshape(-1), bitorder="little")
    return _from_buffers(data_type, cells, pa.py_buffer(rows))


def _variable_array(cells: Cells, data_type: pa.DataType) -> pa.Array:
    narrow = data_type in _NARROW
    _demand(not narrow or int(cells.offsets[-1]) <= _LARGEST_OFFSET)
    offsets = pa.py_buffer(cells.offsets.astype(np.int32) if narrow else cells.offsets)
    stored = VIEWS.get(data_type, data_type)
    array = _from_buffers(stored, cells, offsets, pa.py_buffer(_bytes(cells.values)))
    if is_text(stored):
        array.validate(full=True)  # before a cast reads the bytes as UTF-8
    return array.cast(data_type) if stored != data_type else array


def _from_buffers(data_type: pa.DataType, cells: Cells, *buffers: pa.Buffer) -> pa.Array:
    bitmap = None
    if not cells.valid.all():
        bitmap = pa.py_buffer(np.packbits(cells.valid, bitorder="little"))
    return pa.Array.from_buffers(data_type, cells.count, [bitmap, *buffers])


def _bytes(values: Buffer) -> npt.NDArray[np.uint8]:
    return np.frombuffer(values, np.uint8)


def _demand(holds: bool) -> None:
    if not holds:
        raise pa.ArrowInvalid  # answered by cells_to_array like any other unfit value
