"""All fault words, each with its id in the wire notes and the place where it strikes."""

from emulator import document_faults, line_faults, reply_faults
from emulator.faults import Word

_CREATE = r":(batchGenerateContent|asyncBatchEmbedContent)$"
_CHUNK = r"upload_id="


def _batch(code: str) -> Word:
    """Return the word for what becomes of a batch; `fate.fate_of` knows what it means."""
    return Word(code, "batch", None, "POST", _CREATE)


def _upload(code: str) -> Word:
    """Return the word for a fault of a chunk that is answered as if all were well."""
    return Word(code, "upload", None, "POST", _CHUNK)


def _file(code: str) -> Word:
    """Return the word for what becomes of a file; it strikes where an upload becomes final."""
    return Word(code, "file", None, "POST", _CHUNK)


WORDS: dict[str, Word] = {
    **reply_faults.WORDS,
    **document_faults.WORDS,
    **line_faults.WORDS,
    "chunk_lost": _upload("F31"),
    "early_final": _upload("F32"),
    "file_processing": _file("F34"),
    "file_failed": _file("F34"),
    "file_expired": _file("F34"),
    "list_lag": _batch("F41"),
    "duplicate_batch": _batch("F42"),
    "never_ends": _batch("F52"),
    "batch_fails": _batch("F53"),
    "batch_expires": _batch("F54"),
    "batch_cancelled": _batch("F54"),
}
"""Every word by name."""
