"""All fault words by name; what each does, and its arguments, stand in `docs/local-engine.md`."""

from emulator import document_faults, line_faults, reply_faults
from emulator.faults import CREATE, Word, words

_CHUNK = r"upload_id="

WORDS: dict[str, Word] = {
    **reply_faults.WORDS,
    **document_faults.WORDS,
    **line_faults.WORDS,
    **words("upload", "POST", _CHUNK, chunk_lost=("F31", None), early_final=("F32", None)),
    **words(
        "file", "POST", _CHUNK, file_processing=("F34", None), file_failed=("F34", None), file_expired=("F34", None)
    ),
    **words(
        "batch",
        "POST",
        CREATE,
        list_lag=("F41", None),
        duplicate_batch=("F42", None),
        never_ends=("F52", None),
        batch_fails=("F53", None),
        batch_expires=("F54", None),
        batch_cancelled=("F54", None),
    ),
}
"""Every word by name; those without a function are known to what handles uploads, files and batches."""
