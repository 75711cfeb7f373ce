"""What a build is: the names of its files, and the manifest that says what they hold.

A build is one directory, `builds/<number>/` in the folder of its collection. Formats:

    faiss.index        an IndexFlatIP, or 8 bits a number, as faiss.write_index writes it
    metadata.json      a JSON list in vector order, one entry a line
    entries.sqlite     a row for each entry in vector order, with its metadata, and their words
    manifest.json      this module's `Manifest`; written last, so a directory without it is no build

The one thing to know: `position` is the database's position when the entries were read, not the number of the build.
"""

import hashlib
import json
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from pipeline.core import files
from pipeline.core.errors import InconsistentError
from pipeline.core.ranking import Entry

if TYPE_CHECKING:
    from pipeline.index.vector_cache import VectorCache


INDEX = "faiss.index"
METADATA = "metadata.json"
ENTRIES = "entries.sqlite"
MANIFEST = "manifest.json"
PARTS = (INDEX, METADATA, ENTRIES)
REACHED = 0.9  # of what the terms of a question tell; tried on 278 questions, see docs/search.md


@dataclass(frozen=True)
class Floor:
    """What a hit is worth that means nothing: the cosine that is enough alone, and the score of words that is.

    Together they are enough in part: a hit is weak below the line between these two points. `alone` is what words must
    come to that rank alone.
    """

    cosine: Annotated[float, Field(gt=0)]
    words: Annotated[float, Field(gt=0)]
    alone: Annotated[float, Field(ge=0)]

    def is_weak(self, cosine: float | None, words: float, told: float) -> bool:
        """Return whether a hit with these scores is no better than what a question without meaning finds.

        Of a short question, whose terms tell less than the floor, a part of what they tell is enough. Without a cosine
        it was found by words alone.
        """
        if cosine is None:
            return come_to(words, told) < self.alone
        enough = min(self.words, REACHED * told) or self.words
        return cosine / self.cosine + words / enough < 1


def come_to(words: float, told: float) -> float:
    """Return what a score of words comes to alone: times its share of what all the question's terms tell."""
    return words * words / told if told else 0.0


class RefusedText(BaseModel):
    """An entry that is in no build because the embedding model refused its text."""

    model_config = ConfigDict(frozen=True, strict=True)

    content: str  # SHA-256 of the entry, as `content_hash` makes it
    reason: str  # the API's own words


class Manifest(BaseModel):
    """What one build holds: how many vectors of which model, from which database position, and its files' hashes."""

    model_config = ConfigDict(frozen=True, strict=True)

    number: int
    count: int
    model: str
    dim: int
    task_type: str
    position: int
    built_at: AwareDatetime  # UTC
    hashes: dict[str, str]  # file name -> SHA-256 as hex
    sizes: dict[str, int]  # file name -> bytes
    words: dict[str, Any]  # how terms are made, and what they count
    floor: Floor | None = None  # below what a hit is weak; None where that is not known
    judged: dict[str, Any] | None = (
        None  # what it reached on judged questions, and the build before it
    )
    recall: dict[str, Any] | None = (
        None  # of 8 bits a number beside an exact scan; None where it is exact
    )
    refused: dict[str, RefusedText] = {}  # by the entry's id
    format: Literal[2] = 2


@dataclass
class StagedBuild:
    """A build that is written but not in service; `verified` is set by `verify_build` alone."""

    directory: Path
    manifest: Manifest
    cache: "VectorCache"
    verified: bool = field(default=False, init=False)

    def seal(self, **facts: Any) -> None:
        """Write the manifest, with more facts, on disk when this returns."""
        self.manifest = self.manifest.model_copy(update=facts)
        document = self.manifest.model_dump_json(indent=1)
        files.seal_bytes(self.directory / MANIFEST, document.encode() + b"\n")


def content_hash(entry: Entry) -> str:
    """Return the SHA-256, as hex, of what makes an entry up to date: its text, its facts, and its fields."""
    seen = json.dumps([entry.text, entry.facts]).encode("ascii")
    if entry.fields:
        seen += "\0".join(chain.from_iterable(entry.fields.items())).encode(
            "utf-8", "surrogatepass"
        )
    return hashlib.sha256(seen).hexdigest()


def read_manifest(directory: Path) -> Manifest:
    """Return the manifest of the build in `directory`, whose files are there with the sizes it states."""
    path = directory / MANIFEST
    try:
        found = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InconsistentError(f"{directory} is no build: it has no {MANIFEST}") from None
    except ValidationError as error:
        wrong = error.errors()[0]
        said = ": ".join([*map(str, wrong["loc"]), wrong["msg"]])
        raise InconsistentError(f"{path} cannot be read as a manifest: {said}") from None
    for name in (*PARTS, *found.hashes):
        part = directory / name
        size = part.stat().st_size if part.is_file() else None
        if size != found.sizes.get(name):
            raise InconsistentError(f"{part} has {size} bytes, expected {found.sizes.get(name)}")
    return found


def changed(directory: Path, found: Manifest) -> list[str]:
    """Return which files of a build have other bytes than it was made with; those that are there are read in full."""
    there = (directory / name for name in found.hashes if (directory / name).exists())
    wrong = (path for path in there if files.sha256_of(path) != found.hashes[path.name])
    return [f"{path} has other bytes than the build was made with" for path in wrong]
