"""What must hold of the index in service: one build, whole, the very bytes it was verified with."""

import hashlib
import json
from collections.abc import Iterator

from tests.soak.look import Look, tags_of

STABLE = ("faiss.index", "metadata.json")


def index_is_of_one_build(here: Look) -> Iterator[str]:
    """Vectors, metadata and manifest are of one build, as they were verified, also through the stable paths."""
    import faiss

    current = here.data / "index" / "current"
    if not current.is_symlink():
        if here.memory.had_index:
            yield "there was an index, and now there is none"
        return
    here.memory.had_index = True
    directory = current.resolve()
    manifest = json.loads((directory / "manifest.json").read_bytes())
    for name, wanted in manifest["hashes"].items():
        path = directory / name
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
            yield f"{name} of build {directory.name} has other bytes than it was verified with"
    people = json.loads((directory / "metadata.json").read_bytes())
    vectors = faiss.read_index(str(directory / "faiss.index")).ntotal
    if not len(people) == vectors == manifest["count"]:
        yield f"build {directory.name}: {vectors} vectors, {len(people)} people, the manifest says {manifest['count']}"
    for name in STABLE:
        if (here.data / name).resolve() != directory / name:
            yield f"{name} leads to {(here.data / name).resolve()}, and {directory.name} is in service"


def index_holds_everybody(here: Look) -> Iterator[str]:
    """Once there is nothing left to do, the index holds exactly the people who are tagged, with the tags they have."""
    current = here.data / "index" / "current"
    people = json.loads((current / "metadata.json").read_bytes()) if current.is_symlink() else []
    held = {one["username"]: one["tags"] for one in people}
    tagged = {row["username"]: tags_of(row) for row in here.rows["experts"] if tags_of(row)}
    if held != tagged and tagged:
        odd = sorted(name for name in held.keys() | tagged.keys() if held.get(name) != tagged.get(name))
        yield f"the index and the table differ on {len(odd)} people, the first are {odd[:3]}"
