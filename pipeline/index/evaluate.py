"""Measure the search on judged queries: for `eval`, and as gates before a build is promoted.

    {"qid": "q1", "text": "who knows water law", "type": "topic"}
    q1 0 ada 2

The first line is a query of `queries.jsonl`, the second a judgement of `qrels.tsv`: query id, 0,
name of an entry, grade. Grade 0 means that the entry is not an answer. Errors name file, line and
field.

A system is a way to rank: one of the ranks of the search, or plain BM25. The share of words is the
weight of the word score in a score by words and vectors. A hit is weak if it is below the floor of
its build: the scores that most nonsense queries do not reach.

Figures are those of trec_eval. Judgements are never complete, so figures compare systems and have
no absolute meaning.

Two gates are checked before a build is promoted:

- `check_not_worse` searches the staged build and the build in service, each with its own embedding
  model. It is free: if a service embeds, the gate uses only vectors that `eval` has cached.
- `check_recall` compares an 8-bit index with an exact scan.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.progress import Progress
from pipeline.core.ranking import BM25_B, BM25_K1, RankMode
from pipeline.core.text import join_first, plural
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import IndexedTask
from pipeline.index.build_reader import Index
from pipeline.index.builds import Builds
from pipeline.index.hits import Hit
from pipeline.index.judged_queries import (
    JudgedQueries,
    JudgedQuery,
    read_judged_queries,
)
from pipeline.index.manifest import StagedBuild
from pipeline.index.query import SearchOptions
from pipeline.index.search import SearchSession
from pipeline.index.tokenizer import split_stems
from pipeline.index.vectors import check_embedding_model

# Folder below DATA that has the judged queries of the gate, in a folder per collection.
JUDGED_FOLDER = "judged"
QUERIES_FILE = "queries.jsonl"
QRELS_FILE = "qrels.tsv"

# A difference on fewer judged queries can be chance.
MIN_JUDGED_QUERIES = 50
# The figure that compares builds; gains are the grades themselves.
MAIN_MEASURE = "nDCG@10"
MEASURES = (MAIN_MEASURE, "MRR", "P@5", "R@10")
# Hits per query for MAIN_MEASURE, for the share of weak queries, and for recall.
MAIN_DEPTH = 10
# Hits per query for all measures of `eval`.
EVALUATION_DEPTH = 100
BM25_SYSTEM = "bm25"
ALL_TYPES = "all"

# Seed of the bootstrap and of the recall sample.
SEED = 20261122
BOOTSTRAP_RESAMPLES = 5000
RESAMPLES_PER_CHUNK = 250

# Shares of words that `eval` compares; vectors have the rest.
WORD_SHARES = tuple(step / 10 for step in range(11))


def rank_by_bm25(
    texts_by_name: Mapping[str, str],
    queries: Iterable[str],
    depth: int,
) -> list[list[str]]:
    """Return for each query the names of at most `depth` texts that share a word with it.

    The best text is first; texts with equal scores keep their order. This is a fixed baseline:
    Okapi BM25 as Lucene computes it, by bm25s. It compares stems of words without case and accents;
    a script without spaces, such as Chinese, is compared by pairs of neighbouring characters. Stop
    words count, and so does each repetition of a word of a query.
    """
    import bm25s

    names = list(texts_by_name)
    words_by_text = [split_stems(text) for text in texts_by_name.values()]
    vocabulary = set(chain.from_iterable(words_by_text))
    bm25 = bm25s.BM25(k1=BM25_K1, b=BM25_B, method="lucene")
    if vocabulary:
        bm25.index(words_by_text, show_progress=False)

    rankings = list[list[str]]()
    for query in queries:
        query_words = [word for word in split_stems(query) if word in vocabulary]
        scores = bm25.get_scores(query_words) if query_words else np.empty(0)
        order = np.argsort(-scores, kind="stable")[:depth]
        rankings.append([names[text_index] for text_index in order if scores[text_index] > 0])
    return rankings


def _search_build(ws: WorkspaceSession, index: Index) -> SearchSession:
    """Return a search of an open build that embeds queries with its own model and caches them."""
    settings = replace(
        ws.settings,
        embedding_model=index.manifest.model,
        dim=index.manifest.dim,
    )
    return SearchSession(replace(ws, settings=settings), index=index, cache_queries=True)


def measure_search(
    ws: WorkspaceSession,
    queries: Path,
    qrels: Path,
) -> list[dict[str, Any]]:
    """Measure the search in service by each rank, and plain BM25, on judged queries.

    Embeds the queries with the build's model and caches their vectors, for which a service may
    charge. Prints a warning about judged names that are not in the index.

    Args:
        ws: The workspace; the build in service of its collection is measured.
        queries: JSON lines of queries.
        qrels: TREC judgements.

    Returns:
        A dict for each query type and system. The type "all" is first. If the queries have at least
        two types, each of them follows. The members:

        - `system`: a rank, or "bm25".
        - `type`: the query type.
        - `queries`: how many queries were measured.
        - `figures`: for each measure, its mean and the ends of its 95 % interval.
        - `weak`: the share of queries whose first ten hits are all weak. It is None for "bm25", and
          if the build has no floor.
        - `share`: None except for the rank "hybrid". There it is {used, best, low, high}: the share
          of words of the build, and the best share on these queries with the ends of its 95 %
          interval.

    Raises:
        InputError: A file is invalid, or there is no index.
        ConfigurationError: The build has vectors of another embedding model, or pytrec_eval is not
            installed.
    """
    judged_queries = read_judged_queries(queries, qrels)
    collection = ws.indexed_task
    weak_by_system = dict[str, list[bool]]()
    with Builds(ws.data, collection.folder).open_current() as index:
        check_embedding_model(
            ws.task, index.manifest, model_name=ws.embedding_model.name, dim=ws.settings.dim
        )
        texts_by_name = dict[str, str]()
        for row in range(index.row_count):
            document = index.read_metadata(row)
            texts = collection.texts_of(document, index.read_extra_cells(row))
            texts_by_name[collection.name_of(document)] = " ".join(texts)
        _warn_about_unknown_names(ws.display, judged_queries, texts_by_name)
        search = _search_build(ws, index)
        rankings = {
            BM25_SYSTEM: rank_by_bm25(texts_by_name, judged_queries.texts, EVALUATION_DEPTH),
        }
        for rank in RankMode:
            hit_lists = list(
                search.search_many(
                    judged_queries.texts,
                    SearchOptions(EVALUATION_DEPTH, rank),
                ),
            )
            rankings[rank] = _hit_names(collection, hit_lists)
            if index.manifest.floor is not None:
                weak_by_system[rank] = [
                    all(hit.is_weak for hit in hits[:MAIN_DEPTH]) for hits in hit_lists
                ]

        used_share = index.ranking.share
        share_values = _measure_shares(search, judged_queries)

    systems = [*RankMode, BM25_SYSTEM]
    values = {system: compute_measures(judged_queries, rankings[system]) for system in systems}
    rows = []
    for type_name, query_indexes in _group_query_indexes(judged_queries.queries).items():
        for system, system_values in values.items():
            weak_share = None
            if system in weak_by_system:
                weak_flags = weak_by_system[system]
                weak_count = sum(weak_flags[query_index] for query_index in query_indexes)
                weak_share = weak_count / len(query_indexes)
            word_share = None
            if system == RankMode.HYBRID:
                best, low, high = find_best_share([row[query_indexes] for row in share_values])
                word_share = {"used": used_share, "best": best, "low": low, "high": high}
            rows.append(
                {
                    "system": str(system),
                    "type": type_name,
                    "queries": len(query_indexes),
                    "figures": {
                        measure: mean_difference(measure_values[query_indexes])
                        for measure, measure_values in system_values.items()
                    },
                    "weak": weak_share,
                    "share": word_share,
                },
            )
    return rows


def _hit_names(
    collection: IndexedTask,
    hit_lists: Iterable[Sequence[Hit]],
) -> list[list[str]]:
    return [[collection.name_of(hit.metadata) for hit in hits] for hits in hit_lists]


def _group_query_indexes(queries: Sequence[JudgedQuery]) -> dict[str, list[int]]:
    """Return the indexes of the queries of each type; the first type is "all", with all queries.

    The other types are sorted by name. Queries without a type have the type "none". If there are
    fewer than two types, only "all" is returned. A type that is called "all" has no group of its
    own, and does not count.
    """
    indexes_by_type = dict[str, list[int]]()
    for query_index, query in enumerate(queries):
        indexes_by_type.setdefault(query.type or "none", []).append(query_index)

    indexes_by_type.pop(ALL_TYPES, None)
    groups = {ALL_TYPES: list(range(len(queries)))}
    if len(indexes_by_type) > 1:
        groups |= dict(sorted(indexes_by_type.items()))
    return groups


def _warn_about_unknown_names(
    display: Progress,
    judged_queries: JudgedQueries,
    indexed_names: Collection[str],
) -> None:
    """Print a warning about names with a grade above 0 that are not in the index.

    Prints nothing if all are in the index.
    """
    relevant_names = dict[str, None]()
    for grades in judged_queries.grades.values():
        relevant_names |= {name: None for name, grade in grades.items() if grade > 0}
    unknown_names = [name for name in relevant_names if name not in indexed_names]
    if unknown_names:
        display.warn(
            f"{len(unknown_names):,} of {plural(len(relevant_names), 'name')} with a grade above 0 "
            f"are not in the index and count as not found: {join_first(unknown_names)}",
        )


def read_share_queries(data: Path, indexed_task: IndexedTask) -> JudgedQueries:
    """Return the judged queries of an indexed task, for choosing the best share of words.

    The share of words is the weight of the word score in a score by words and vectors.

    Raises:
        InputError: A file is missing or invalid, or fewer than MIN_JUDGED_QUERIES queries are
            judged.
    """
    judged_dir = data / JUDGED_FOLDER / indexed_task.folder
    qrels_path = judged_dir / QRELS_FILE
    if not (judged_dir / QUERIES_FILE).exists():
        raise InputError(
            f"the best share of words needs judged questions, but {judged_dir / QUERIES_FILE} does "
            "not exist; the index in service was not changed",
            hint=f"save the questions there, and their judgements in {qrels_path}",
        )
    judged_queries = read_judged_queries(judged_dir / QUERIES_FILE, qrels_path)
    query_count = len(judged_queries.queries)
    if query_count < MIN_JUDGED_QUERIES:
        raise InputError(
            f"{qrels_path} judges {plural(query_count, 'question')}, the best share of words needs "
            f"{MIN_JUDGED_QUERIES}; the index in service was not changed",
            hint=f"judge more questions, or choose a share, for example {OptionHint(words=0.5)}",
        )
    return judged_queries


def save_best_share(
    ws: WorkspaceSession,
    staged: StagedBuild,
    judged_queries: JudgedQueries,
) -> None:
    """Find the share of words that is best on judged queries; write it to a staged manifest.

    The share of words is the weight of the word score in a score by words and vectors. Tries each
    of WORD_SHARES, and prints the best. Embeds the queries with the build's model and caches their
    vectors, for which a service may charge.
    """
    with Index(staged.directory, staged.manifest) as index:
        search = _search_build(ws, index)
        share_values = _measure_shares(search, judged_queries)
    best, low, high = find_best_share(share_values)
    staged.seal(chosen_share=best, words={**staged.manifest.words, "share": best})
    ws.display.say(
        f"best share of words: {best:.1f} [{low:.1f}, {high:.1f}] "
        f"on {len(judged_queries.queries)} judged questions",
    )


def _measure_shares(
    search: SearchSession,
    judged_queries: JudgedQueries,
) -> list[NDArray[Any]]:
    """Return MAIN_MEASURE of each query, for each of WORD_SHARES."""
    rankings_by_query = list(
        search.rank_by_shares(judged_queries.texts, MAIN_DEPTH, WORD_SHARES),
    )
    return [
        compute_measures(judged_queries, share_rankings)[MAIN_MEASURE]
        for share_rankings in zip(*rankings_by_query, strict=True)
    ]


def compute_measures(
    judged_queries: JudgedQueries,
    rankings: Iterable[Sequence[str]],
) -> dict[str, NDArray[Any]]:
    """Return the value of each measure for each query, float64 (queries,), by measure.

    Args:
        judged_queries: Queries and grades.
        rankings: For each query, in order, the names of its hits, best first. An empty ranking
            scores zero.

    Raises:
        ConfigurationError: pytrec_eval is not installed.
    """
    import ir_measures

    if not ir_measures.pytrec_eval.is_available():
        raise ConfigurationError(
            "the measures need pytrec-eval-terrier, which has no package for this machine; "
            "nothing was measured",
            hint="pip install pytrec-eval-terrier, which needs a C compiler",
        )

    # ir_measures calls the mean reciprocal rank RR.
    names_by_measure = {
        ir_measures.parse_measure("RR" if name == "MRR" else name): name for name in MEASURES
    }

    # trec_eval sorts by score, so the scores only have to descend.
    indexes_by_qid = {query.qid: index for index, query in enumerate(judged_queries.queries)}
    run_scores = {
        qid: {name: -float(position) for position, name in enumerate(ranking)}
        for qid, ranking in zip(indexes_by_qid, rankings, strict=True)
    }
    grades = {qid: dict(judged_queries.grades[qid]) for qid in indexes_by_qid}

    values = {name: np.zeros(len(indexes_by_qid)) for name in MEASURES}
    for metric in ir_measures.iter_calc(list(names_by_measure), grades, run_scores):
        measure_name = names_by_measure[metric.measure]
        values[measure_name][indexes_by_qid[metric.query_id]] = metric.value
    return values


def find_best_share(share_values: Sequence[NDArray[Any]]) -> tuple[float, float, float]:
    """Return the share of words with the best mean, and the ends of its 95 % interval.

    The smallest of equal shares wins. The interval is a seeded bootstrap over the queries.

    Args:
        share_values: For each of WORD_SHARES the figure of each query.
    """
    values = np.array(share_values)
    shares = np.array(WORD_SHARES)
    resampled_steps = _resample_sums(values.T).argmax(axis=1)
    low, high = np.percentile(shares[resampled_steps], [2.5, 97.5])
    return float(shares[values.mean(axis=1).argmax()]), float(low), float(high)


def mean_difference(
    values: NDArray[Any],
    baseline: NDArray[Any] | float = 0.0,
) -> tuple[float, float, float]:
    """Return the mean of `values - baseline` and the ends of its 95 % interval.

    The interval is a seeded bootstrap over the queries, so it is the same each time.

    Args:
        values: A figure for each query.
        baseline: The same figure of another system, in the same order; 0 gives the mean of values.
    """
    differences = values - baseline
    resampled_means = _resample_sums(differences) / len(differences)
    low, high = np.percentile(resampled_means, [2.5, 97.5])
    return float(differences.mean()), float(low), float(high)


def _resample_sums(figures: NDArray[Any]) -> NDArray[Any]:
    """Return the sums of BOOTSTRAP_RESAMPLES seeded resamples of the queries, a row for each.

    Args:
        figures: Array (queries,) or (queries, systems).
    """
    count = len(figures)
    rng = np.random.default_rng(SEED)
    probabilities = np.full(count, 1 / count)
    # In chunks, because all draws at once take too much memory.
    return np.concatenate(
        [
            rng.multinomial(count, probabilities, RESAMPLES_PER_CHUNK) @ figures
            for _ in range(BOOTSTRAP_RESAMPLES // RESAMPLES_PER_CHUNK)
        ]
    )
