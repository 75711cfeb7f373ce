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

    def offset(self, number: int) -> int:
        """Return where record `number`, counted from 0, begins, in bytes."""
        return HEADER_BYTES + number * self.size

    def whole_records(self, file_size: int) -> int:
        """Return how many whole records a file of so many bytes has."""
        return (file_size - HEADER_BYTES) // self.size

    def pack(self, keys: Sequence[bytes], rows: Vectors) -> NDArray[np.void]:
        """Return the records of these keys and rows, float32 (len(keys), dim), checksums filled in."""
        records = np.empty(len(keys), dtype=self.record)
        records["key"] = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)
        records["vector"] = rows
        records["crc"] = self._checksums(records)
        return records

    def sound(self, records: NDArray[np.void]) -> NDArray[np.bool_]:
        """Return for each record whether its checksum is right."""
        same: NDArray[np.bool_] = self._checksums(records) == records["crc"]
        return same

    def _checksums(self, records: NDArray[np.void]) -> NDArray[np.uint32]:
        """Return the crc32 of key and vector of each record."""
        raw = memoryview(records.tobytes())
        starts = range(0, len(raw), self.size)
        return np.array([zlib.crc32(raw[start : start + self.size - _CRC_BYTES]) for start in starts], dtype=np.uint32)
