"""File names of a build, and the manifest that describes a build.

A build is a directory, `builds/<number>/` in the folder of its indexed task. Its files:

    faiss.index        an IndexFlatIP, or an index of 8-bit numbers, as faiss.write_index writes it
    metadata.json      a JSON list in vector order, one entry per line
    entries.sqlite     one row per entry in vector order, with its metadata; the full-text index;
                       then rows without an answer, which have words but no vector
    manifest.json      this module's `Manifest`, written last: without it there is no build

A meaningless query is one of the nonsense queries in `nonsense.txt`. The floor of a build is the
scores that most of them do not reach; hits below it are weak.

`Manifest.position` is the position of the database when its entries were read: a counter that grows
with each change of a task's rows. It is not the number of the build.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast, get_origin

from askrows.pipeline.core import files
from askrows.pipeline.core.errors import InconsistentError
from askrows.pipeline.core.ranking import Entry

if TYPE_CHECKING:
    from askrows.pipeline.index.vector_cache import VectorCache


INDEX_FILE = "faiss.index"
METADATA_FILE = "metadata.json"
ENTRIES_FILE = "entries.sqlite"
MANIFEST_FILE = "manifest.json"
PART_FILES = (INDEX_FILE, METADATA_FILE, ENTRIES_FILE)

# Grows with every change of the members.
FORMAT = 3
# A short query needs at most this share of its total IDF to reach the floor of words.
# Tried on 278 queries, see docs/search.md.
MAX_WORD_FLOOR_SHARE = 0.9


@dataclass(frozen=True)
class Floor:
    """Scores that meaningless queries reach in a build; hits below them are weak.

    `cosine` and `words` are the two ends of a line: a hit is weak if it lies below the line.
    """

    # Cosine that is enough without any matching word.
    cosine: float
    # BM25 score that is enough at cosine 0.
    words: float
    # Score that is enough if entries are ranked by words only, see
    # `scale_word_score_by_matched_share`.
    alone: float

    def is_weak(self, cosine: float | None, word_score: float, query_idf: float) -> bool:
        """Return whether a hit is weak: scores that meaningless queries reach, too, are weak.

        Args:
            cosine: Cosine of hit and query, or None if the hit was found by words only.
            word_score: BM25 score of the hit.
            query_idf: Sum of the IDF of all query terms. For a short query, whose sum is below the
                floor of words, a share of the sum is enough.
        """
        if cosine is None:
            return scale_word_score_by_matched_share(word_score, query_idf) < self.alone

        required_word_score = min(self.words, MAX_WORD_FLOOR_SHARE * query_idf) or self.words
        return cosine / self.cosine + word_score / required_word_score < 1


def scale_word_score_by_matched_share(word_score: float, query_idf: float) -> float:
    """Return a word score times its share of the query's total IDF; 0 for a query without IDF.

    This is the measure of weakness for a hit that was found by words only. The factor is near 1 if
    the hit contains the whole query, and near 0 if it contains a small part of it.
    """
    if not query_idf:
        return 0.0
    return word_score * word_score / query_idf


@dataclass(frozen=True)
class RefusedText:
    """An entry that is in no build because the embedding model refused its text."""

    # The result of `hash_entry_content`.
    content: str
    # Message of the API.
    reason: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Description of a build: entry count, embedding model, database position, file hashes."""

    number: int
    # Number of entries.
    count: int
    # Number of rows without an answer that only their words find. They follow the entries in
    # `entries.sqlite`, and are in no other file.
    untagged: int
    # Embedding model, and the width of its vectors.
    model: str
    dim: int
    task_type: str
    # Position of the database when the entries were read.
    position: int
    built_at: datetime  # aware, UTC
    # SHA-256 (hex) and size in bytes by file name.
    hashes: dict[str, str]
    sizes: dict[str, int]
    # Version of the tokenizer under "terms", and `Ranking.as_json`.
    words: dict[str, Any]
    # The floor for queries of each of `tokenizer.SCRIPTS`. Empty if the build was made without
    # vectors of meaningless queries.
    floors: dict[str, Floor] = field(default_factory=dict)
    # Left-out entries by entry id.
    refused: dict[str, RefusedText] = field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> bytes:
        """Return the content of the manifest's file."""
        document = {**asdict(self), "built_at": self.built_at.isoformat()}
        return json.dumps(document, indent=1).encode() + b"\n"

    @classmethod
    def from_json(cls, content: bytes) -> Self:
        """Return the manifest that a file contains.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: The file is not JSON, a member is
                missing, unknown or of another type, or the format has another number.
        """
        document = json.loads(content)
        document["floors"] = {
            script: _parse_floor(floor) for script, floor in document["floors"].items()
        }
        document["built_at"] = datetime.fromisoformat(document["built_at"])
        document["refused"] = {
            entry_id: RefusedText(**refused_text)
            for entry_id, refused_text in document["refused"].items()
        }
        build_manifest = cls(**document)

        for member in fields(cls):
            expected_type = dict if get_origin(member.type) is dict else member.type
            if not isinstance(getattr(build_manifest, member.name), cast(type, expected_type)):
                raise TypeError(f"{member.name} is not {expected_type}")
        if build_manifest.format != FORMAT:
            raise ValueError(f"format is not {FORMAT}")
        return build_manifest


def _parse_floor(document: Mapping[str, Any]) -> Floor:
    """Return a floor that is read from a manifest.

    Raises:
        ValueError, TypeError: A score is missing, too low or not a number.
    """
    floor = Floor(**document)
    if not (floor.cosine > 0 and floor.words > 0 and floor.alone >= 0):
        raise ValueError("a score of a floor is not positive")
    return floor


@dataclass
class StagedBuild:
    """A build that is written but not in service."""

    directory: Path
    manifest: Manifest
    # Cache that contains the vectors of the build.
    cache: "VectorCache"
    # Only `verify_and_mark_build` sets this.
    is_verified: bool = field(default=False, init=False)

    def seal_manifest(self, **updates: Any) -> None:
        """Write the manifest, with some fields replaced; it is on disk when this returns."""
        self.manifest = replace(self.manifest, **updates)
        files.seal_bytes(self.directory / MANIFEST_FILE, self.manifest.to_json())


def hash_entry_content(entry: Entry) -> str:
    """Return the SHA-256 (hex) of the text, facts and fields of an entry.

    An indexed entry is up to date if this hash is unchanged. Other metadata do not count.
    """
    content = json.dumps([entry.text, entry.facts]).encode("ascii")
    if entry.fields:
        names_and_texts = chain.from_iterable(entry.fields.items())
        content += "\0".join(names_and_texts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).hexdigest()


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest of a build and check that all its files have the recorded sizes.

    The content of the files is not read.

    Raises:
        InconsistentError: The manifest is missing or invalid, or a file is missing or has another
            size.
    """
    path = directory / MANIFEST_FILE
    try:
        build_manifest = Manifest.from_json(path.read_bytes())
    except FileNotFoundError:
        raise InconsistentError(f"{directory} is not a build: it has no {MANIFEST_FILE}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InconsistentError(f"{path} cannot be read as a manifest: {error!r}") from None

    for name in chain(PART_FILES, build_manifest.hashes):
        part_path = files.resolve_stored_path(directory, name)
        size = part_path.stat().st_size if part_path.is_file() else None
        expected_size = build_manifest.sizes.get(name)
        if size != expected_size:
            raise InconsistentError(f"{part_path} has {size} bytes, expected {expected_size}")
    return build_manifest


def iterate_changed_file_messages(directory: Path, build_manifest: Manifest) -> Iterator[str]:
    """Yield an error message for each file of a build whose bytes changed since it was written.

    Reads each file in full. Missing files are skipped.
    """
    for name, expected_hash in build_manifest.hashes.items():
        path = files.resolve_stored_path(directory, name)
        if path.exists() and files.hash_file(path) != expected_hash:
            yield f"{path} has other bytes than the build was made with"
