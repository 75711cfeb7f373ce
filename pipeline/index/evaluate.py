"""Measure the search in service beside BM25 and chance, over the same rows: the beginning of the test lab.

The BM25 it compares with is fixed (k1 1.2, b 0.75, the plain text of an entry, no stemming), so that figures of
different days and models can be compared. Judgements are incomplete in every collection we know, so the
figures compare systems and say nothing absolute.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import files
from pipeline.core.errors import InputError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.limits import MAX_EMBED_TEXTS
from pipeline.index import embed, metrics, search
from pipeline.index.builds import Builds

if TYPE_CHECKING:
    from pipeline.index.reader import Index


DEPTH = 50  # how many entries of each ranking are looked at
SEED = 20261120  # of the random order
QUESTION = 'a line is {"qid": …, "text": …}'


@dataclass(frozen=True)
class EvaluationQuery:
    """One question of a collection; `type` groups questions in the report and may be empty."""

    qid: str
    text: str
    type: str


@dataclass(frozen=True)
class MetricsRow:
    """The figures of one system over one type of questions."""

    system: str
    type: str
    queries: int
    figures: Mapping[str, float]


def run(ws: OpenWorkspace, *, queries: Path, qrels: Path) -> list[MetricsRow]:
    """Return the figures of the index in service, BM25 and chance: over all questions, then by type.

    Raises:
        InputError: a file is missing or a line of it is wrong, or there is no index of the task in use.
        ConfigurationError: the index was built with another model than the questions would be embedded with.
    """
    for path in (queries, qrels):
        if why := files.why_not_readable(path):
            raise InputError(f"{path} {why}; nothing was measured", hint="check the path")
    questions, judged = read_queries(queries), read_qrels(qrels)
    questions = [
        question for question in questions if any(grade > 0 for grade in judged.get(question.qid, {}).values())
    ]
    if not questions:
        raise InputError(f"{qrels} judges none of the questions in {queries}", hint="are these two of one collection?")
    with Builds(ws.data, ws.collection.folder).open() as index:
        rankings = _rankings(ws, index, questions)
    types = sorted({question.type for question in questions})
    groups = {"all": questions} | {
        kind: [question for question in questions if question.type == kind] for kind in types if len(types) > 1
    }
    return [
        _row(system, kind, group, found, judged) for kind, group in groups.items() for system, found in rankings.items()
    ]


def _rankings(
    ws: OpenWorkspace, index: "Index", questions: Sequence[EvaluationQuery]
) -> dict[str, dict[str, list[str]]]:
    """Return for each system the names it ranks for each question, best first."""
    search.check_embedding(index.manifest, model=ws.embedding_model.name, dim=ws.settings.dim, make=ws.task.words.make)
    collection = ws.collection
    rows = [index.metadata_at(row) for row in range(len(index))]
    documents = {collection.name_of(row): collection.plain_text(row) for row in rows}
    words = metrics.Bm25(documents)
    found: dict[str, list[str]] = {}
    with ws.display.bar("asking", len(questions)) as bar:
        for start in range(0, len(questions), MAX_EMBED_TEXTS):
            some = questions[start : start + MAX_EMBED_TEXTS]
            vectors = embed.embed_queries(ws, [query.text for query in some])
            for query, vector in zip(some, vectors, strict=True):
                found[query.qid] = [collection.name_of(hit.metadata) for hit in index.search(vector, DEPTH)]
            bar.show(start + len(some))
    return {
        f"search ({index.manifest.model})": found,
        "bm25": {one.qid: words.rank(one.text, limit=DEPTH) for one in questions},
        "random": {one.qid: metrics.shuffled(documents, seed=SEED, query=one.qid)[:DEPTH] for one in questions},
    }


def _row(
    system: str,
    kind: str,
    group: Sequence[EvaluationQuery],
    found: Mapping[str, Sequence[str]],
    judged: Mapping[str, Mapping[str, int]],
) -> MetricsRow:
    figures = metrics.ranking_metrics(found, {query.qid: judged[query.qid] for query in group})
    return MetricsRow(system, kind, len(group), figures)


def read_queries(path: Path) -> list[EvaluationQuery]:
    """Return the questions of a JSON lines file of `{"qid", "text", "type"?}`.

    Raises:
        InputError: the file is missing, or a line is no such object; the message names the line.
    """
    try:
        with closing(files.read_jsonl(path)) as lines:
            return [_query(document, f"{path}, line {number}") for number, document in lines]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}", hint="check the path; it must be UTF-8") from error


def _query(document: Any, place: str) -> EvaluationQuery:
    """Return one question, or say what is wrong with it."""
    if not isinstance(document, dict):
        raise InputError(f"{place}: a question must be an object", hint=QUESTION)
    for name in ("qid", "text"):
        if not isinstance(document.get(name), str) or not document[name].strip():
            raise InputError(f"{place}: {name!r} must be a text that is not empty", hint=QUESTION)
    return EvaluationQuery(document["qid"], document["text"], str(document.get("type") or ""))


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Return the grade of each judged name for each question, from TREC lines `qid 0 name grade`.

    Raises:
        InputError: the file is missing, or a line has another form; the message names the line.
    """
    judged: dict[str, dict[str, int]] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}", hint="check the path; it must be UTF-8") from error
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        if len(parts) < 4 or not parts[3].removeprefix("-").isdecimal():  # noqa: PLR2004 - the columns of TREC
            raise InputError(
                f"{path}, line {number}: expected `qid 0 username grade`, found {line[:80]!r}",
                hint="one judgement a line",
            )
        judged.setdefault(parts[0], {})[parts[2]] = int(parts[3])
    return judged
