"""Take the images that a source gives as bytes: each is opened once, and kept as it is sent."""

import hashlib
from collections.abc import Sequence
from datetime import datetime

from pipeline.core.declaration import column_named
from pipeline.engine.pictures import PictureError, prepare
from pipeline.store.database import Store
from pipeline.tables.item_values import plain_value
from pipeline.tables.items import ItemsSpec
from pipeline.tables.kept_images import (
    KEPT,
    KeptImage,
    drop_images,
    keep_images,
    kept_hashes,
    unneeded_images,
)

TOGETHER_BYTES = 8 * 2**20  # of images that are written at once


def name_bytes(images: Sequence[str], column: str, data: bytes) -> str:
    """Return what stands for the bytes of a cell: their hash in a column of images, else the text that they are."""
    is_image = any(column_named(one, (column,)) for one in images)
    return f"{KEPT}{hashlib.sha256(data).hexdigest()}" if is_image else str(plain_value(data))


class ImageKeeper:
    """Keeps the images of a task while its source is read; `broken` says of which bytes why they cannot be asked about.

    Those that are kept already are not opened again.
    """

    def __init__(self, store: Store, spec: ItemsSpec, *, side: int, at: datetime) -> None:
        """Begin with those that are kept; images are scaled so that the longer side is at most `side` pixels.

        Raises:
            ConfigurationError: a table of another program has the name under which they are kept.
        """
        self.broken: dict[str, str] = {}
        self._store, self._spec, self._side, self._at = store, spec, side, at
        self._new: set[str] = set()
        self._waiting: list[KeptImage] = []
        with store.read() as tx:
            self._known = kept_hashes(tx, spec, side=side)

    def take(self, column: str, data: bytes) -> str:
        """Return what stands for the bytes of a cell, and keep the image that they are in a column of images."""
        named = name_bytes(self._spec.images, column, data)
        sha256 = named.removeprefix(KEPT)
        if sha256 != named and sha256 not in self._known and sha256 not in self.broken:
            self._open(sha256, data)
        return named

    def flush(self) -> None:
        """Write what was not written yet."""
        if self._waiting:
            with self._store.write() as tx:
                keep_images(tx, self._spec, self._waiting, at=self._at)
            self._waiting.clear()

    def settle(self, spec: ItemsSpec) -> None:
        """Keep no longer what was kept now and no row names, such as one that was refused, or is forgotten."""
        if not self._new:
            return
        with self._store.read() as tx:
            unneeded = self._new.intersection(unneeded_images(tx, spec))
        if unneeded:
            with self._store.write() as tx:
                drop_images(tx, spec, unneeded)

    def _open(self, sha256: str, data: bytes) -> None:
        try:
            sent = prepare(data, side=self._side).data
        except PictureError as error:
            self.broken[sha256] = error.message
            return
        self._known.add(sha256)
        self._new.add(sha256)
        self._waiting.append(KeptImage(sha256, self._side, sent))
        if sum(len(one.data) for one in self._waiting) > TOGETHER_BYTES:
            self.flush()
