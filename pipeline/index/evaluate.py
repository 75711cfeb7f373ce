"""Measure the search on judged questions: for `eval`, and before a build is promoted beside the one in service.

The gate asks both builds as search asks them, each with its own model. Nothing is paid for it: where a service embeds,
the vectors of the questions are those that `eval` left in the cache.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import FindableError, GateError
from pipeline.core.ranking import Rank
from pipeline.core.step import Step
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index.builds import Builds
from pipeline.index.judged import DEPTH, MAIN, Judged, difference, judged_of_files, measure_rankings, read_questions
from pipeline.index.manifest import Staged, seal_manifest
from pipeline.index.reader import Index
from pipeline.index.search import OpenSearch, SearchOptions, check_embedding
from pipeline.index.terms import words_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.engine.task import Indexed

FOLDER, QUERIES, QRELS = "judged", "queries.jsonl", "qrels.tsv"  # below DATA: what builds of a collection are held to
FEWEST = 50  # judged questions, below which no difference is told from chance
FIRST = 10  # entries of each ranking that the measure looks at
ALL = "all"
K1, B = 1.2, 0.75  # of the plain BM25: the usual values (Robertson and Zaragoza 2009)


class PlainBm25:
    """Okapi BM25 as Lucene has it, by bm25s: folded words, pairs of characters of scripts without spaces; never tuned.

    No stop words, no stems.
    """

    def __init__(self, names: Sequence[str], texts: Iterable[str]) -> None:
        """Index texts under their names; all of it is kept in memory."""
        import bm25s

        self._names = names
        self._bm25 = bm25s.BM25(k1=K1, b=B, method="lucene")
        words = [[*words_of(text)] for text in texts]
        self._known = {word for some in words for word in some}
        if self._known:
            self._bm25.index(words, show_progress=False)

    def rank(self, question: str, depth: int) -> list[str]:
        """Return at most `depth` names that share a word with the question, best first, ties in their order."""
        import numpy as np

        words = [word for word in dict.fromkeys(words_of(question)) if word in self._known]
        if not words:
            return []
        scores = self._bm25.get_scores(words)
        order = np.argsort(-scores, kind="stable")[:depth]
        return [self._names[place] for place in order if scores[place] > 0]


def _open_build(ws: OpenWorkspace, index: Index) -> OpenSearch:
    """Return a search in an open build, whose questions are embedded with its own model, and kept in the cache."""
    found = index.manifest
    settings = replace(ws.settings, embedding_model=found.model, dim=found.dim)
    return OpenSearch(replace(ws, settings=settings), index=index, keeps=True)


def run(ws: OpenWorkspace, queries: Path, qrels: Path) -> list[dict[str, Any]]:
    """Return {system, type, queries, figures, weak} of the search by each rank and a plain BM25, in all and by type.

    A figure is its mean and the ends of its 95 % interval; `weak` is the share of questions whose first ten hits all
    are, None where that is not known.

    Raises:
        InputError: a file is missing or a line of it is wrong, no question is judged, or there is no index.
        ConfigurationError: the index was built with another model than the questions would be embedded with.
    """
    judged, collection, model = judged_of_files(queries, qrels), ws.collection, ws.embedding_model.name
    with Builds(ws.data, collection.folder).open() as index:
        check_embedding(index.manifest, model=model, dim=ws.settings.dim, step=ws.task.words.step)
        documents = [index.metadata_at(row) for row in range(len(index))]
        names = [collection.name_of(one) for one in documents]
        bm25 = PlainBm25(names, (" ".join(collection.texts(one)) for one in documents))
        build, weak = _open_build(ws, index), dict[str, list[bool]]()
        ranked = {"bm25": [bm25.rank(one, DEPTH) for one in judged.texts]}
        for rank in Rank:
            found = [*build.ask_many(judged.texts, SearchOptions(DEPTH, rank))]
            ranked[rank] = [[collection.name_of(hit.metadata) for hit in hits] for hits in found]
            if index.manifest.floor is not None:
                weak[rank] = [all(hit.is_weak for hit in hits[:FIRST]) for hits in found]
    values = {system: _measured(judged, ranked[system]) for system in (*Rank, "bm25")}
    types = {ALL: list(range(len(judged.questions)))}
    for place, one in enumerate(judged.questions):
        types.setdefault(one.type or "none", []).append(place)
    shown = types if len(types) > 2 else {ALL: types[ALL]}  # noqa: PLR2004 - all, and two types at least
    return [
        {
            "system": str(system),
            "type": name,
            "queries": len(places),
            "figures": {measure: difference(one[places], 0 * one[places]) for measure, one in found.items()},
            "weak": sum(weak[system][at] for at in places) / len(places) if system in weak else None,
        }
        for name, places in sorted(shown.items(), key=lambda pair: (pair[0] != ALL, pair[0]))
        for system, found in values.items()
    ]


def gate_questions(data: Path, collections: "Iterable[Indexed]") -> list[str]:
    """Return the questions that builds of some collections are held to; of a broken file none."""
    found: list[str] = []
    for path in (data / FOLDER / one.folder / QUERIES for one in collections):
        try:
            found += [one.text for one in read_questions(path)] if path.exists() else []
        except FindableError:
            continue
    return found


def check_not_worse(ws: OpenWorkspace, staged: Staged, *, worse_ok: bool) -> None:
    """Measure a staged build beside the one in service where that can be, and keep the figures in its manifest.

    Raises:
        GateError: it is worse by more than chance, and `worse_ok` does not allow it; the one in service stays.
    """
    folder, builds, display = ws.data / FOLDER / ws.collection.folder, Builds(ws.data, ws.collection.folder), ws.display
    if not (folder / QUERIES).exists() or builds.current() is None:
        return
    try:
        judged = judged_of_files(folder / QUERIES, folder / QRELS)
        with Index(staged.directory) as new, builds.open() as before:
            number, asked = before.manifest.number, [_open_build(ws, one) for one in (new, before)]
            if why := _why_not(ws.task.words.step, judged, asked, folder):
                display.say(f"not compared with the build in service: {why}")
                return
            ours, theirs = (_measured(judged, _ranked(one, judged.texts))[MAIN] for one in asked)
    except FindableError as error:
        display.say(f"not compared with the build in service on judged questions: {error.message}")
        return
    _keep(ws, staged, number, ours, theirs, worse_ok=worse_ok)


def _ranked(opened: OpenSearch, questions: Sequence[str]) -> Iterator[list[str]]:
    for hits in opened.ask_many(questions, SearchOptions(FIRST)):
        yield [opened.collection.name_of(hit.metadata) for hit in hits]


def _why_not(step: Callable[..., Step], judged: Judged, asked: Sequence[OpenSearch], folder: Path) -> str:
    if len(judged.questions) < FEWEST:
        return f"{folder / QRELS} judges {len(judged.questions)} questions, and fewer than {FEWEST} tell nothing"
    if all(one.is_free(judged.texts) for one in asked):
        return ""
    measured = step("eval", queries=folder / QUERIES, qrels=folder / QRELS)
    return f"`{measured}` embeds the judged questions, which costs"


def _measured(judged: Judged, rankings: Iterable[list[str]]) -> "dict[str, NDArray[Any]]":
    return measure_rankings(dict(zip(judged.qids, rankings, strict=True)), judged.grades, judged.qids)


def _keep(
    ws: OpenWorkspace, staged: Staged, number: int, ours: "NDArray[Any]", theirs: "NDArray[Any]", *, worse_ok: bool
) -> None:
    """Keep what both builds reached in the manifest of the staged one, and say it."""
    mean, low, high = difference(ours, theirs)
    reached, before = float(ours.mean()), float(theirs.mean())
    staged.manifest = replace(
        staged.manifest,
        judged={
            "questions": len(ours),
            MAIN: reached,
            "before": {"number": number, MAIN: before},
            "difference": {"mean": mean, "low": low, "high": high},
        },
    )
    seal_manifest(staged.directory, staged.manifest)
    said = f"on {len(ours)} judged questions {MAIN} is {reached:.3f}, and {before:.3f} in build {number}"
    if high >= 0:
        ws.display.say(said)
        return
    worse = f"{said}, which is in service: worse by {-mean:.3f} [{-high:.3f}, {-low:.3f}]"
    if not worse_ok:
        raise GateError(
            f"build {staged.manifest.number} was not promoted: {worse}",
            hint=f"`{ws.task.words.step('index', worse_ok=True)}` promotes it all the same",
        )
    ws.display.warn(worse)
