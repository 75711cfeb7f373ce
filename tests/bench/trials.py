"""What is measured: each trial with its ways, the workspace it begins on, its sizes, and its targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SMALL = (1_558, 10_000)
USUAL = (*SMALL, 100_000)
MEMORY = (55_000, 550_000)  # the sizes between which memory must stay flat; only with FULL=1

At = tuple[str, int]  # a way and a number of rows


@dataclass(frozen=True)
class Target:
    """A bound on one ratio: `measure` of `over` divided by that of `under`, in one run of the harness."""

    says: str
    over: At
    under: At
    least: float | None = None
    most: float | None = None
    measure: str = "wall"


@dataclass(frozen=True)
class Trial:
    """One kind of work, done in several ways on copies of one workspace.

    `ways` map a name to `module:function` of `tests.bench`, `outcome` to what tells what came of it. All ways but
    those `apart` must come to the same; `slow` ones are run once above `once_above` rows, and only `memory` ones at
    the sizes of `MEMORY`. `environ` is what every way finds in its environment.
    """

    title: str
    ground: str
    ways: Mapping[str, str]
    targets: Sequence[Target] = ()
    outcome: str = ""
    apart: frozenset[str] = frozenset()
    slow: frozenset[str] = frozenset({"naive"})
    memory: frozenset[str] = frozenset()
    once_above: int = 10_000
    environ: Mapping[str, str] = field(default_factory=dict)
    sizes: tuple[int, ...] = USUAL


TRIALS: dict[str, Trial] = {
    "requests": Trial(
        "write request files, claims included",
        "untagged",
        {"product": "product:requests", "naive": "naive.requests:ready", "limit": "limit.requests:ready"},
        (
            Target("naive / product", ("naive", 100_000), ("product", 100_000), least=7),
            Target("limit / product", ("limit", 100_000), ("product", 100_000), least=0.55),
            Target("peak at 550k / 55k", ("product", 550_000), ("product", 55_000), most=1.1, measure="peak"),
        ),
        "outcomes:requests",
        memory=frozenset({"product", "limit"}),
    ),
    "ingest": Trial(
        "ingest, score and account included",
        "downloaded",
        {
            "product": "product:ingest",
            "product, NORMAL": "product:ingest_normal",
            "file order": "fileorder:ready",
            "naive": "naive.ingest:ready",
            "limit": "limit.ingest:ready",
        },
        (
            Target("naive / product", ("naive", 10_000), ("product", 10_000), least=20),
            Target("limit / product", ("limit", 100_000), ("product", 100_000), least=0.40),
            Target("file order / product", ("file order", 100_000), ("product", 100_000), least=1.8),
            Target("FULL / NORMAL", ("product", 100_000), ("product, NORMAL", 100_000), most=1.15),
            Target("peak at 550k / 55k", ("product", 550_000), ("product", 55_000), most=1.3, measure="peak"),
        ),
        "outcomes:ingest",
        memory=frozenset({"product", "limit"}),
    ),
    "ingest-postgresql": Trial(
        "ingest on PostgreSQL",
        "downloaded",
        {"product": "postgresql:ingest", "naive": "postgresql:naive"},
        (Target("naive / product", ("naive", 10_000), ("product", 10_000), least=20),),
        once_above=1_558,
        sizes=SMALL,
    ),
    "score": Trial(
        "score",
        "tagged",
        {
            "product": "product:score",
            "naive": "naive.score:ready",
            "naive, at once": "naive.score:ready_at_once",
            "limit": "limit.score:ready",
        },
        (Target("naive / product", ("naive", 100_000), ("product", 100_000), least=15),),
        "outcomes:score",
        slow=frozenset({"naive", "naive, at once"}),
        memory=frozenset({"product", "limit"}),
    ),
    "rescore": Trial(
        "score, nothing to change",
        "scored",
        {"product": "product:score"},
        outcome="outcomes:score",
    ),
    "index": Trial(
        "index, verification included",
        "cached",
        {"product": "product:index", "naive": "naive.index:ready", "limit": "limit.index:ready"},
        (
            Target("naive / product", ("naive", 100_000), ("product", 100_000), least=5),
            Target(
                "anonymous memory at 550k / 55k", ("product", 550_000), ("product", 55_000), most=1.1, measure="anon"
            ),
        ),
        "outcomes:index",
        memory=frozenset({"product", "limit"}),
    ),
    "reindex": Trial(
        "index after 1 % changed",
        "changed",
        {"product": "product:reindex"},
        outcome="outcomes:index",
    ),
    "cache-write": Trial(
        "vector cache, 10,000 a call",
        "cached",
        {
            "product": "product:cache_write",
            "naive": "naive.vectors:write",
            "naive, NORMAL": "naive.vectors:write_normal",
            "limit": "limit.vectors:write",
        },
        (Target("naive / product", ("naive", 100_000), ("product", 100_000), least=3),),
        slow=frozenset(),
    ),
    "cache-calls": Trial(
        "vector cache, 100 a call",
        "cached",
        {
            "product": "product:cache_write_calls",
            "naive": "naive.vectors:write_calls",
            "naive, NORMAL": "naive.vectors:write_calls_normal",
        },
        slow=frozenset(),
    ),
    "cache-scan": Trial(
        "vector cache, read all",
        "cached",
        {"product": "product:cache_scan", "naive": "naive.vectors:scan", "limit": "limit.vectors:scan"},
        (Target("naive / product", ("naive", 100_000), ("product", 100_000), least=4),),
        slow=frozenset(),
    ),
    "help": Trial(
        "start-up, --help",
        "untagged",
        {
            "product": "product:command(-m jobs --help)",
            "limit": "product:command(-c import%click)",
        },
        (Target("product / import click", ("product", 1_558), ("limit", 1_558), most=1.3),),
        sizes=(1_558,),
    ),
    "status": Trial(
        "start-up, status",
        "indexed",
        {
            "product": "product:command(-m jobs status)",
            "limit": "product:command(-c import%click,sqlalchemy)",
        },
        (
            Target("product / import click, sqlalchemy", ("product", 1_558), ("limit", 1_558), most=1.5),
            Target("the same at 100k", ("product", 100_000), ("limit", 100_000), most=1.5),
        ),
    ),
    "search": Trial(
        "search, one question to an open index",
        "indexed",
        {"product": "product:search", "limit": "limit.search:ready"},
        (Target("product / numpy product", ("product", 100_000), ("limit", 100_000), most=1.2),),
        environ={"OPENBLAS_NUM_THREADS": "1"},  # a second one spins, and costs more than it helps where others work
    ),
    "search-opening": Trial(
        "search, index opened for it",
        "indexed",
        {"product": "product:search_opening", "naive": "naive.search:ready"},
        slow=frozenset(),
    ),
    "local-batch": Trial(
        "local engine, a batch",
        "untagged",
        {"product": "local:batch", "limit": "local:tagger"},
        (Target("product / tagger", ("product", 1_558), ("limit", 1_558), most=4),),
        sizes=(1_558,),
    ),
    "local-embeddings": Trial(
        "local engine, embeddings",
        "untagged",
        {
            "product": "local:embeddings",
            "naive": "local:embeddings_one_by_one",
            "limit": "local:encoder",
            "limit, wordllama": "local:wordllama",
        },
        (
            Target("encoder / product", ("limit", 1_558), ("product", 1_558), least=0.12),
            Target("wordllama / product", ("limit, wordllama", 1_558), ("product", 1_558), least=0.12),
        ),
        apart=frozenset({"limit, wordllama"}),
        slow=frozenset(),
        sizes=(1_558,),
    ),
    "bar-requests": Trial(
        "progress bar, request files",
        "untagged",
        {"product": "product:requests_with_bar", "limit": "product:requests"},
        (Target("with / without a bar, CPU", ("product", 100_000), ("limit", 100_000), most=1.02, measure="cpu"),),
        "outcomes:requests",
    ),
    "bar-ingest": Trial(
        "progress bar, ingest",
        "downloaded",
        {"product": "product:ingest_with_bar", "limit": "product:ingest"},
        (Target("with / without a bar, CPU", ("product", 100_000), ("limit", 100_000), most=1.02, measure="cpu"),),
        "outcomes:ingest",
    ),
}

# Targets between two trials: (says, trial over, trial under, at rows, most)
BETWEEN: tuple[tuple[str, str, str, int, float], ...] = (
    ("nothing to change / first", "rescore", "score", 100_000, 0.4),
    ("after 1 % changed / full", "reindex", "index", 100_000, 0.5),
)
