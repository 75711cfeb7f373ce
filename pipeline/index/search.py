"""Find the entries nearest to a question in the build in service."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.ranking import Rank
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import embed, staleness
from pipeline.index.builds import Builds
from pipeline.index.manifest import Manifest
from pipeline.index.reader import Hit
from pipeline.index.terms import terms_of_question
from pipeline.store.counts import CountMemory

MAX_QUESTION = 8_000  # characters; about what the smaller embedding models read


@dataclass(frozen=True)
class SearchReport:
    """The best entries, best first, how many entries the index is behind, and whether it lacks words to rank by."""

    hits: list[Hit]
    behind: int
    lacks_words: bool = False


def run(ws: OpenWorkspace, question: str, *, k: int, rank: Rank = Rank.HYBRID) -> SearchReport:
    """Return the `k` best entries, or all if there are fewer; by words alone, those that have some of the question's.

    Raises:
        InputError: the question is blank, too long or no text, there is no index yet, or the task has none; or it is
            to be answered by words, and has none or the index has none.
        ConfigurationError: the index was built with another model or width than the question would be embedded with.
    """
    from pipeline.index.fusion import found_entries, rank_entries

    collection, text = ws.collection, _checked(question)
    terms, vector = None if rank is Rank.VECTORS else terms_of_question(text, asking=collection.ranking.asking), None
    if rank is Rank.WORDS and not terms:
        raise InputError("the question has no words to search by, or stop words alone", hint="leave RANK=words out")
    with Builds(ws.data, collection.folder).open() as index:
        if rank is not Rank.WORDS:
            check_embedding(index.manifest, model=ws.embedding_model.name, dim=ws.settings.dim, make=ws.task.words.make)
            vector = embed.embed_queries(ws, [text])[0]
        hits = found_entries(index, rank_entries(index, terms=terms, vector=vector, k=k))
        lacks_words = terms is not None and index.words is None
        with ws.store.read() as tx:
            memory = CountMemory(tx)
            behind, _ = staleness.remembered_stale(collection, tx, index, memory, ws.display)
    memory.keep(ws.store, at=ws.now())
    return SearchReport(hits, behind, lacks_words)


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
