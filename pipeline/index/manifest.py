"""What a build is: the names of its files, and the manifest that says what they hold.

A build is one directory, `builds/<number>/` in the folder of its collection (see `build_lookup`). Formats:

    faiss.index        an IndexFlatIP, as faiss.write_index writes it
    metadata.json      a JSON list in vector order, one entry a line
    entries.sqlite     a row for each entry in vector order, with its metadata, and their words (see `words`)
    manifest.json      this module's `Manifest`; written last, so a directory without it is no build

The one thing to know: `position` is the database's position when the entries were read, not the number of the build.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import chain
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from pipeline.core import files
from pipeline.core.errors import InconsistentError
from pipeline.core.ranking import Entry
from pipeline.index.words import Floor

if TYPE_CHECKING:
    from pipeline.index.vectors import VectorCache


FORMAT = 2
INDEX = "faiss.index"
METADATA = "metadata.json"
ENTRIES = "entries.sqlite"
MANIFEST = "manifest.json"
PARTS = (INDEX, METADATA, ENTRIES)


@dataclass(frozen=True)
class Manifest:
    """What one build holds: how many vectors of which model, from which database position, and its files' hashes."""

    number: int
    count: int
    model: str
    dim: int
    task_type: str
    position: int
    built_at: datetime  # aware, UTC
    hashes: Mapping[str, str]  # file name -> SHA-256 as hex
    sizes: Mapping[str, int]  # file name -> bytes
    words: Mapping[str, Any]  # how terms are made, and what they count
    floor: Floor | None = None  # below what a hit is weak; None where that is not known
    judged: Mapping[str, Any] | None = None  # what it reached on judged questions, and the build before it
    format: int = FORMAT
    moved_aside: tuple[str, ...] = ()  # foreign files that its promotion moved; not written

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the build's files, but for the manifest."""
        return tuple(self.hashes)

    def as_json(self) -> dict[str, Any]:
        """Return the manifest as plain JSON values, the time as ISO 8601."""
        known = {each.name: getattr(self, each.name) for each in dataclasses.fields(Manifest)}
        del known["moved_aside"]
        floor = None if self.floor is None else dataclasses.asdict(self.floor)
        return {"format": self.format, **known, "built_at": self.built_at.isoformat(), "floor": floor}


@dataclass
class Staged:
    """A build that is written but not in service; `verified` is set by `Builds.verify` alone."""

    directory: Path
    manifest: Manifest
    cache: "VectorCache"
    verified: bool = field(default=False, init=False)


def content_hash(entry: Entry) -> str:
    """Return the SHA-256, as hex, of what makes an entry up to date: its text, its facts, and its fields."""
    seen = b"[%b, %b]" % (ascii_json(entry.text), json.dumps(entry.facts).encode("ascii"))
    if entry.fields:
        seen += "\0".join(chain.from_iterable(entry.fields.items())).encode("utf-8", "surrogatepass")
    return hashlib.sha256(seen).hexdigest()


def seal_manifest(directory: Path, written: Manifest) -> None:
    """Write the manifest of a build, on disk when this returns."""
    document = json.dumps(written.as_json(), indent=1).encode("ascii")
    files.seal_bytes(directory / MANIFEST, document + b"\n")


def read_manifest(directory: Path) -> Manifest:
    """Return the manifest of the build in `directory`, whose files are there with the sizes it states.

    Raises:
        InconsistentError: the directory is no whole build; the message says why.
    """
    path = directory / MANIFEST
    try:
        manifest = _parse(path.read_bytes())
    except FileNotFoundError:
        raise InconsistentError(f"{directory} is no build: it has no {MANIFEST}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InconsistentError(f"{path} cannot be read as a manifest: {error}") from None
    for name in manifest.parts:
        part = directory / name
        size = part.stat().st_size if part.is_file() else None
        if size != manifest.sizes.get(name):
            raise InconsistentError(f"{part} has {size} bytes, expected {manifest.sizes.get(name)}")
    return manifest


@lru_cache(maxsize=4)
def _parse(raw: bytes) -> Manifest:
    """Return the manifest that a JSON document describes; unknown keys are left aside.

    A search that goes on looks at the manifest for each question, and it says the same.
    """
    document = json.loads(raw)
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']!r}, expected {FORMAT}")
    built_at = datetime.fromisoformat(document["built_at"])
    known = {each.name: document[each.name] for each in dataclasses.fields(Manifest) if each.name in document}
    if any(not isinstance(known[name], int) for name in ("number", "count", "dim", "position")):
        raise ValueError("number, count, dim and position must be whole numbers")
    floor = Floor.from_json(known["floor"]) if known.get("floor") is not None else None
    if not set(PARTS) <= document["hashes"].keys():
        raise ValueError(f"it lists no {', no '.join(sorted(set(PARTS) - document['hashes'].keys()))}")
    return Manifest(**{**known, "built_at": built_at, "floor": floor})


def ascii_json(text: str) -> bytes:
    """Return a text as `json.dumps` writes it: keys and hashes are made of that, and earlier ones must stay good.

    Most texts are ASCII, which orjson writes ten times as fast; DEL is the one such character that it does not escape.
    """
    if text.isascii() and "\x7f" not in text:
        return orjson.dumps(text)
    return encode_basestring_ascii(text).encode("ascii")
