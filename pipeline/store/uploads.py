"""Keep which images are uploaded to the API, and what needs them.

uploading -> uploaded -> dropped. An upload is begun before its first byte is sent, and dropped before it is deleted at
the API; one whose end was not seen is dropped as well, and may be left there under its display name.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, select, update

from pipeline.core.errors import StateConflictError
from pipeline.core.states import OPEN
from pipeline.store.leases import this_owner
from pipeline.store.tables import batches
from pipeline.store.upload_tables import upload_uses, uploads


class UploadState(StrEnum):
    """Where an image stands that is too large for a request."""

    UPLOADING = "uploading"
    UPLOADED = "uploaded"
    DROPPED = "dropped"


class UploadedImage(NamedTuple):
    """An image at the API: its row, the SHA-256 of its bytes, its name and address there, and when it came there."""

    id: int
    sha256: str
    name: str
    uri: str
    uploaded_at: datetime


def begin_upload(tx: Connection, sha256: str, *, mime_type: str, size: int, at: datetime) -> int:
    """Note that an image is about to be uploaded, and return its number; others of its hash are used no more."""
    _drop(tx, (uploads.c.sha256 == sha256) & (uploads.c.state == UploadState.UPLOADING))
    values = {"sha256": sha256, "mime_type": mime_type, "size": size, "state": UploadState.UPLOADING, "began_at": at}
    return int(tx.execute(insert(uploads).values(values).returning(uploads.c.id)).scalar_one())


def end_upload(tx: Connection, number: int, *, name: str, uri: str, at: datetime, expires_at: datetime) -> None:
    """Note that an image is whole at the API.

    Raises:
        StateConflictError: another process took it over meanwhile.
    """
    facts = {"state": UploadState.UPLOADED, "name": name, "uri": uri, "uploaded_at": at, "expires_at": expires_at}
    mine = (uploads.c.id == number) & (uploads.c.state == UploadState.UPLOADING)
    if not tx.execute(update(uploads).where(mine).values(facts)).rowcount:
        raise StateConflictError("upload", number, expected=UploadState.UPLOADING, wanted=UploadState.UPLOADED)


def uploaded_since(tx: Connection, hashes: Collection[str], *, since: datetime) -> dict[str, UploadedImage]:
    """Return the images of these hashes that came to the API after a moment and are there, by hash."""
    there = (uploads.c.state == UploadState.UPLOADED) & (uploads.c.uploaded_at > since)
    columns = [uploads.c[name] for name in UploadedImage._fields]
    found = tx.execute(select(*columns).where(there, uploads.c.sha256.in_(hashes)).order_by(uploads.c.id))
    return {row.sha256: UploadedImage(*row) for row in found}


def stored_bytes(tx: Connection, *, at: datetime) -> int:
    """Return how many bytes of images are at the API, as far as is known."""
    there = (uploads.c.state == UploadState.UPLOADED) & (uploads.c.expires_at > at)
    return int(tx.execute(select(func.coalesce(func.sum(uploads.c.size), 0)).where(there)).scalar_one())


def is_any_kept(tx: Connection) -> bool:
    """Return whether any image is at the API, or on its way, as far as is known."""
    return tx.execute(select(uploads.c.id).where(_KEPT).limit(1)).first() is not None


def hold_uploads(tx: Connection, ids: Iterable[int], *, until: datetime) -> None:
    """Let nothing drop these uploads before a moment, or before this process releases them."""
    rows = [{"upload": one, "owner": this_owner(), "until": until} for one in ids]
    if rows:
        tx.execute(insert(upload_uses), rows)


def release_uploads(tx: Connection) -> None:
    """Hold nothing for this process any more."""
    tx.execute(delete(upload_uses).where(upload_uses.c.owner == this_owner()))


def use_uploads(tx: Connection, ids: Collection[int], *, batch: int) -> None:
    """Note that a batch needs these uploads until it is over.

    Raises:
        StateConflictError: one of them was dropped meanwhile.
    """
    there = (uploads.c.state == UploadState.UPLOADED) & uploads.c.id.in_(ids)
    if ids and tx.execute(select(func.count()).select_from(uploads).where(there)).scalar_one() != len(ids):
        raise StateConflictError("upload", min(ids), expected=UploadState.UPLOADED, wanted="used")
    if ids:
        tx.execute(insert(upload_uses), [{"upload": one, "batch": batch} for one in sorted(ids)])


def needs_stale(tx: Connection, batch: int, *, since: datetime) -> bool:
    """Return whether a batch needs an image that is not at the API any more, or came there before a moment."""
    used = select(upload_uses.c.upload).where(upload_uses.c.batch == batch)
    stale = (uploads.c.state != UploadState.UPLOADED) | (uploads.c.uploaded_at <= since)
    return tx.execute(select(uploads.c.id).where(uploads.c.id.in_(used), stale).limit(1)).first() is not None


def kept_uploads(tx: Connection) -> set[int]:
    """Return the numbers of the uploads that are at the API, or on their way."""
    return set(tx.execute(select(uploads.c.id).where(_KEPT)).scalars())


def drop_images(tx: Connection, hashes: Collection[str]) -> None:
    """Use the uploads of these hashes no more, for they are not at the API."""
    _drop(tx, uploads.c.sha256.in_(hashes))


def drop_unneeded(tx: Connection, *, at: datetime, begun_before: datetime) -> Sequence[str]:
    """Use the uploads that nothing needs no more, and return their names at the API.

    One that was begun before a moment and did not end is not waited for.
    """
    _drop(tx, (uploads.c.state == UploadState.UPLOADING) & (uploads.c.began_at < begun_before))
    is_open = exists().where(batches.c.number == upload_uses.c.batch, batches.c.state.in_(OPEN))
    needed = exists().where(upload_uses.c.upload == uploads.c.id, is_open | (upload_uses.c.until > at))
    return _drop(tx, (uploads.c.state == UploadState.UPLOADED) & ~needed)


_KEPT = uploads.c.state != UploadState.DROPPED


def _drop(tx: Connection, which: "ColumnElement[bool]") -> Sequence[str]:
    dropped = update(uploads).where(which).values(state=UploadState.DROPPED).returning(uploads.c.name)
    return [name for name in tx.execute(dropped).scalars() if name]
