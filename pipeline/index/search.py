"""Find the entries nearest to a question in the build in service."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.core.errors import ConfigurationError, InputError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import embed, staleness
from pipeline.index.builds import Builds
from pipeline.index.manifest import Manifest
from pipeline.index.reader import Hit
from pipeline.store.counts import CountMemory

MAX_QUESTION = 8_000  # characters; about what the smaller embedding models read


@dataclass(frozen=True)
class SearchReport:
    """The nearest entries, best first, and how many entries the index is behind."""

    hits: list[Hit]
    behind: int


def run(ws: OpenWorkspace, question: str, *, k: int) -> SearchReport:
    """Return the `k` nearest entries, or all if there are fewer.

    Raises:
        InputError: the question is blank, too long or no text, there is no index yet, or the task has none.
        ConfigurationError: the index was built with another model or width than the question would be embedded with.
    """
    collection, text = ws.collection, _checked(question)
    with Builds(ws.data, collection.folder).open() as index:
        check_embedding(index.manifest, model=ws.embedding_model.name, dim=ws.settings.dim, make=ws.task.words.make)
        hits = index.search(embed.embed_queries(ws, [text])[0], k)
        with ws.store.read() as tx:
            memory = CountMemory(tx)
            behind, _ = staleness.remembered_stale(collection, tx, index, memory, ws.display)
    memory.keep(ws.store, at=ws.now())
    return SearchReport(hits, behind)


def check_embedding(built: Manifest, *, model: str, dim: int, make: Callable[[str], str]) -> None:
    """Pass when a build's vectors can be compared with those of a question.

    Raises:
        ConfigurationError: they are of another model or width; the numbers would look right and mean nothing.
    """
    if (built.model, built.dim) != (model, dim):
        raise ConfigurationError(
            f"the index was built with {built.model}, {built.dim} wide, and the question would be embedded with "
            f"{model}, {dim} wide; nothing was searched",
            hint=f"run `{make('index')}`, or set FINDABLE_EMBEDDING_MODEL={built.model} FINDABLE_DIM={built.dim}",
        )


def _checked(question: str) -> str:
    """Return a question as it is embedded, its white space collapsed; refuse what cannot be one."""
    text = " ".join(question.split())
    if not text:
        raise InputError("there is nothing to search for", hint='`make search Q="who knows water law"`')
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise InputError("the question holds what is no text (NUL, or bytes that are no UTF-8)", hint="type it anew")
    if len(text) > MAX_QUESTION:
        raise InputError(f"the question has {len(text):,} characters, the limit is {MAX_QUESTION:,}", hint="shorten it")
    return text
