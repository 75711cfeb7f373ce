"""The bytes of a file of vectors: a header of 256 bytes and records of equal length, numbers little-endian.

    header   magic (8) | version u32 | width u32 | crc32 of the model u32 | length of the model u16 | model, UTF-8
    record   key (32) | width x float32 | crc32 of key and vector u32

The one thing to know: records are found by their number alone, so a file is never changed but at its end.
"""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAGIC = b"findvec\n"
VERSION = 1
HEADER_BYTES = 256
KEY_BYTES = 32
_HEADER = struct.Struct("<8sIIIH")
_CRC_BYTES = 4
_RESIDUE = 0x2144DF1C  # the crc32 of anything that is followed by its own crc32, little-endian

Vectors = NDArray[np.float32]


def read_header(raw: bytes) -> tuple[str, int] | None:
    """Return (model, width) of a file of vectors from its first bytes; None where they are no header of ours."""
    if len(raw) < HEADER_BYTES:
        return None
    magic, version, dim, crc, length = _HEADER.unpack_from(raw)
    encoded = raw[_HEADER.size : _HEADER.size + length]
    if (magic, version) != (MAGIC, VERSION) or zlib.crc32(encoded) != crc:
        return None
    return encoded.decode("utf-8", "replace"), dim


class RecordFormat:
    """The header and the records of one model's vectors at one width."""

    def __init__(self, model: str, dim: int) -> None:
        """Lay out the file.

        Raises:
            ValueError: the width is not positive or the model's name is longer than the header has room for.
        """
        encoded = model.encode()
        if dim < 1 or len(encoded) > HEADER_BYTES - _HEADER.size:
            raise ValueError(f"no vectors of width {dim} of model {model!r}")
        start = _HEADER.pack(MAGIC, VERSION, dim, zlib.crc32(encoded), len(encoded))
        self.header = (start + encoded).ljust(HEADER_BYTES, b"\0")
        self.record = np.dtype([("key", "u1", (KEY_BYTES,)), ("vector", "<f4", (dim,)), ("crc", "<u4")])
        self.size = self.record.itemsize
        nothing = bytes(self.size - _CRC_BYTES)
        self._sound_record = nothing + zlib.crc32(nothing).to_bytes(_CRC_BYTES, "little")
        self._known = [0]  # how the crc32 runs over 0, 1, 2 … sound records

    def offset(self, number: int) -> int:
        """Return where record `number`, counted from 0, begins, in bytes."""
        return HEADER_BYTES + number * self.size

    def whole_records(self, file_size: int) -> int:
        """Return how many whole records a file of so many bytes has."""
        return (file_size - HEADER_BYTES) // self.size

    def pack(self, records: NDArray[np.void], keys: Sequence[bytes], rows: Vectors) -> memoryview:
        """Fill `records` with keys, rows, float32 (len(records), dim), and checksums; return their bytes."""
        records["key"] = rows_of(keys)
        records["vector"] = rows
        raw = records.view(np.uint8).data
        ends = range(self.size, len(raw) + 1, self.size)
        records["crc"] = [zlib.crc32(raw[end - self.size : end - _CRC_BYTES]) for end in ends]
        return raw

    def unsound(self, raw: memoryview) -> list[int]:
        """Return which of the whole records in `raw`, counted from 0, have a wrong checksum.

        What follows itself with its own checksum leaves the running checksum at a value that does not depend on what it
        is; so that of many sound records is known beforehand, and one look at all of them is enough. One wrong record
        is always seen so; several wrong ones would have to make up for one another, by a chance of 1 in 2**32.
        """
        count = len(raw) // self.size
        if zlib.crc32(raw) == self._running(count):
            return []
        starts = range(0, count * self.size, self.size)
        return [at for at, start in enumerate(starts) if zlib.crc32(raw[start : start + self.size]) != _RESIDUE]

    def _running(self, count: int) -> int:
        """Return the crc32 of any `count` sound records one behind the other."""
        for _ in range(len(self._known), count + 1):
            self._known.append(zlib.crc32(self._sound_record, self._known[-1]))
        return self._known[count]


def rows_of(keys: Sequence[bytes]) -> NDArray[np.uint8]:
    """Return keys as rows of bytes, uint8 (len(keys), 32).

    Raises:
        ValueError: a key is not 32 bytes.
    """
    if set(map(len, keys)) - {KEY_BYTES}:
        raise ValueError(f"a key has {KEY_BYTES} bytes: use vector_key()")
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)
