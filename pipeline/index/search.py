"""Find the nearest experts to a question in the build in service."""

from dataclasses import dataclass

from pipeline.core.errors import ConfigurationError, InputError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import embed, staleness
from pipeline.index.builds import Builds

MAX_QUESTION = 8_000  # characters; about what the smaller embedding models read


@dataclass(frozen=True)
class SearchResult:
    """One expert that was found; `similarity` is the cosine, 1.0 for the same direction."""

    rank: int
    username: str
    similarity: float
    name: str
    job_title: str
    tags: list[str]
    findability_score: float | None


@dataclass(frozen=True)
class SearchReport:
    """The nearest experts, best first, and how many people the index is behind."""

    hits: list[SearchResult]
    behind: int


def run(ws: OpenWorkspace, question: str, *, k: int) -> SearchReport:
    """Return the `k` nearest experts, or all if there are fewer.

    Raises:
        InputError: the question is blank, too long or no text, or there is no index yet.
        ConfigurationError: the index was built with another model or width than the question would be embedded with.
    """
    text = _checked(question)
    with Builds(ws.data).open() as index:
        _check_model(ws, index.manifest.model, index.manifest.dim)
        vector = embed.embed_queries(ws, [text])[0]
        hits = [_found(hit.rank, hit.similarity, dict(hit.metadata)) for hit in index.search(vector, k)]
        with ws.store.read() as tx:
            behind = staleness.count_stale(ws, tx, index, quick=True)
    return SearchReport(hits, behind)


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


def _check_model(ws: OpenWorkspace, model: str, dim: int) -> None:
    """Refuse to compare vectors of different models or widths; the numbers would look right and mean nothing."""
    wanted, width = ws.embedding_model.name, ws.settings.dim
    if (model, dim) != (wanted, width):
        raise ConfigurationError(
            f"the index was built with {model}, {dim} wide, and the question would be embedded with {wanted}, {width} "
            "wide; nothing was searched",
            hint=f"run `make index`, or set FINDABLE_EMBEDDING_MODEL={model} FINDABLE_DIM={dim}",
        )


def _found(rank: int, similarity: float, metadata: dict[str, object]) -> SearchResult:
    """Return one hit as a person reads it."""
    score = metadata.get("findability_score")
    tags = metadata.get("tags")
    return SearchResult(
        rank=rank,
        username=str(metadata.get("username") or ""),
        similarity=round(float(similarity), 4),
        name=" ".join(str(metadata.get(part) or "") for part in ("First Name", "Last Name")).strip(),
        job_title=str(metadata.get("Job Title") or ""),
        tags=[str(tag) for tag in tags] if isinstance(tags, list) else [],
        findability_score=float(score) if isinstance(score, int | float) else None,
    )
