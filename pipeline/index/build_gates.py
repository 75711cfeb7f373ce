"""Check a staged build before its promotion: its ranking on judged queries, and its recall.

A judged query has grades of entries, given by people. Recall is the share of the ten nearest
entries by exact vectors that an index of 8-bit numbers also finds.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import FindableError, GateError, InputError
from pipeline.core.progress import Progress
from pipeline.core.text import plural
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import IndexedTask, Task
from pipeline.index.build_reader import Index
from pipeline.index.builds import Builds
from pipeline.index.evaluate import (
    JUDGED_FOLDER,
    MAIN_DEPTH,
    MAIN_MEASURE,
    MIN_JUDGED_QUERIES,
    QRELS_FILE,
    QUERIES_FILE,
    SEED,
    _hit_names,
    _search_build,
    compute_measures,
    mean_difference,
)
from pipeline.index.judged_queries import (
    read_judged_queries,
    read_queries,
)
from pipeline.index.manifest import StagedBuild
from pipeline.index.query import SearchOptions
from pipeline.index.vector_cache import VectorCache, Vectors
from pipeline.index.vector_file import BLOCK_ROWS, find_nearest_in_blocks, is_exact
from pipeline.index.write import SIMILARITY_TOLERANCE, read_vector_keys

# Rows of the build whose vectors are recall queries; as many other vectors are queries, too.
RECALL_SAMPLE_ROWS = 500
# Minimum of the lower end of the 95 % interval of recall@10.
MIN_RECALL = 0.95


def read_gate_queries(data: Path, collections: Iterable[IndexedTask]) -> list[str]:
    """Return the texts of the judged queries of indexed tasks, whose vectors `clean` keeps.

    Tasks without a file of queries, and files that cannot be read or are invalid, are skipped.

    Args:
        data: The workspace's folder DATA.
        collections: The indexed tasks.
    """
    texts: list[str] = []
    for collection in collections:
        path = data / JUDGED_FOLDER / collection.folder / QUERIES_FILE
        if not path.exists():
            continue
        try:
            texts += [query.text for query in read_queries(path)]
        except FindableError:
            continue
    return texts


def check_not_worse(ws: WorkspaceSession, staged: StagedBuild, *, worse_ok: bool) -> None:
    """Compare a staged build with the build in service on judged queries, and save the figures.

    The figures are written to the staged manifest and printed. If no comparison is possible, for
    example because a file of judged queries is invalid, only the reason is printed, and the build
    passes. It does nothing if there is no file of judged queries, or no build in service.

    Args:
        ws: The workspace.
        staged: The verified build.
        worse_ok: Print a warning instead of raising if the build is worse.

    Raises:
        GateError: The build is worse by more than chance, and `worse_ok` is not set.
        InconsistentError: The manifest of the build in service cannot be read.
    """
    judged_dir = ws.data / JUDGED_FOLDER / ws.indexed_task.folder
    builds = Builds(ws.data, ws.indexed_task.folder)
    if not (judged_dir / QUERIES_FILE).exists() or builds.read_current_manifest() is None:
        return

    try:
        previous_number, staged_values, previous_values = _measure_builds(
            ws,
            staged,
            builds,
            judged_dir,
        )
    except FindableError as error:
        ws.display.say(
            f"not compared with the build in service: {error.message}",
        )
        return

    mean, low, high = mean_difference(staged_values, previous_values)
    staged_figure = float(staged_values.mean())
    previous_figure = float(previous_values.mean())
    figures = {
        "questions": len(staged_values),
        MAIN_MEASURE: staged_figure,
        "before": {"number": previous_number, MAIN_MEASURE: previous_figure},
        "difference": {"mean": mean, "low": low, "high": high},
    }
    staged.seal(judged=figures)

    message = (
        f"on {len(staged_values)} judged questions {MAIN_MEASURE} is {staged_figure:.3f}, "
        f"and {previous_figure:.3f} in build {previous_number}"
    )
    if high >= 0:
        ws.display.say(message)
        return
    reason = f"{message}, which is in service: worse by {-mean:.3f} [{-high:.3f}, {-low:.3f}]"
    _fail_gate(ws.task, ws.display, staged, reason, worse_ok=worse_ok)


def _measure_builds(
    ws: WorkspaceSession,
    staged: StagedBuild,
    builds: Builds,
    judged_dir: Path,
) -> tuple[int, NDArray[Any], NDArray[Any]]:
    """Measure the staged build and the build in service on the judged queries.

    It makes no paid call.

    Returns:
        The number of the build in service, the MAIN_MEASURE of each query in the staged build, and
        the same in the build in service.

    Raises:
        InputError: A file of queries or judgements is invalid, fewer than MIN_JUDGED_QUERIES
            queries are judged, to embed them would cost money, or no build is in service.
        InconsistentError: The build in service is damaged.
    """
    queries_path = judged_dir / QUERIES_FILE
    qrels_path = judged_dir / QRELS_FILE
    judged_queries = read_judged_queries(queries_path, qrels_path)
    with (
        Index(staged.directory, staged.manifest) as staged_index,
        builds.open_current() as current_index,
    ):
        searches = [_search_build(ws, index) for index in (staged_index, current_index)]
        if len(judged_queries.queries) < MIN_JUDGED_QUERIES:
            raise InputError(
                f"{qrels_path} judges {plural(len(judged_queries.queries), 'question')}; "
                f"the comparison needs {MIN_JUDGED_QUERIES}"
            )
        if not all(search.is_embedding_free(judged_queries.texts) for search in searches):
            step = ws.task.labels.command(
                "eval",
                queries=queries_path,
                qrels=qrels_path,
            )
            raise InputError(f"`{step}` embeds the judged questions, which costs money")

        values = []
        for search in searches:
            hit_lists = search.search_many(
                judged_queries.texts,
                SearchOptions(MAIN_DEPTH),
            )
            rankings = _hit_names(ws.indexed_task, hit_lists)
            values.append(compute_measures(judged_queries, rankings)[MAIN_MEASURE])
        return current_index.manifest.number, values[0], values[1]


def _fail_gate(
    task: Task,
    display: Progress,
    staged: StagedBuild,
    reason: str,
    *,
    worse_ok: bool,
) -> None:
    """Raise GateError, or print the reason as a warning if `worse_ok`."""
    if worse_ok:
        display.warn(reason)
        return
    raise GateError(
        f"build {staged.manifest.number} was not promoted: {reason}",
        hint=f"`{task.labels.command('index', worse_ok=True)}` promotes it anyway",
    )


def check_recall(task: Task, display: Progress, staged: StagedBuild, *, worse_ok: bool) -> None:
    """Compare a staged 8-bit index with an exact scan, and save and print its recall.

    Does nothing for an exact index. The queries are those of `_draw_recall_queries`. Recall@10 is
    the share of the ten nearest entries that the 8-bit index also finds, and is written to the
    staged manifest with its 95 % interval. An entry counts as found if it is not farther than the
    tenth entry of the exact scan, because entries of equal text are equally good. The scan reads
    the cached vectors block by block, so memory does not grow with the index.

    Args:
        task: The task that the index belongs to.
        display: Where the recall or the warning is printed.
        staged: The verified build.
        worse_ok: Print a warning instead of raising if the recall is too low.

    Raises:
        GateError: The lower end of the interval of recall@10 is below MIN_RECALL, and `worse_ok` is
            not set.
    """
    entry_count = staged.manifest.count
    cache = staged.cache
    if is_exact(entry_count):
        return

    block_ranges = [
        range(first_row, min(first_row + BLOCK_ROWS, entry_count))
        for first_row in range(0, entry_count, BLOCK_ROWS)
    ]
    with Index(staged.directory, staged.manifest) as index:
        queries = _draw_recall_queries(index, cache)
        exact_blocks = (cache.fetch(read_vector_keys(index, rows)) for rows in block_ranges)
        exact_similarities, _ = find_nearest_in_blocks(queries, exact_blocks, MAIN_DEPTH)

        index_blocks = (index.faiss.reconstruct_n(rows.start, len(rows)) for rows in block_ranges)
        _, found_rows = find_nearest_in_blocks(queries, index_blocks, MAIN_DEPTH)
        found_vectors = cache.fetch(
            read_vector_keys(
                index,
                found_rows.ravel().tolist(),
            ),
        )

    found_vectors = found_vectors.reshape(*found_rows.shape, -1)
    similarities = np.einsum("id,ijd->ij", queries, found_vectors)
    is_hit = similarities >= exact_similarities[:, -1:] - SIMILARITY_TOLERANCE
    recall_by_query = is_hit.mean(axis=1)
    mean, low, high = mean_difference(recall_by_query)

    query_count = len(recall_by_query)
    figures = {"questions": query_count, "seed": SEED, "recall@10": mean, "low": low, "high": high}
    staged.seal(recall=figures)
    message = (
        f"with 8 bits per number the index finds {mean:.3f} [{low:.3f}, {high:.3f}] "
        f"of the ten nearest entries of {query_count:,} vectors"
    )
    if low >= MIN_RECALL:
        display.say(message)
        return
    _fail_gate(
        task,
        display,
        staged,
        f"{message}; the minimum is {MIN_RECALL}",
        worse_ok=worse_ok,
    )


def _draw_recall_queries(index: Index, cache: VectorCache) -> Vectors:
    """Return the query vectors for the recall: random vectors of entries, then random midpoints.

    A midpoint is the mean of the vectors of two random entries, scaled to length 1. There are at
    most RECALL_SAMPLE_ROWS of either kind. The vectors come from the cache. The draw is seeded, so
    it is the same each time.
    """
    rng = np.random.default_rng(SEED)
    entry_count = index.manifest.count
    sample_size = min(RECALL_SAMPLE_ROWS, entry_count)
    samples = []
    for _ in range(3):
        rows = rng.choice(entry_count, sample_size, replace=False).tolist()
        samples.append(cache.fetch(read_vector_keys(index, rows)))

    entry_vectors, first_vectors, second_vectors = samples
    midpoints = first_vectors + second_vectors
    unit_midpoints = midpoints / np.linalg.norm(midpoints, axis=1, keepdims=True)
    return np.concatenate([entry_vectors, unit_midpoints])
