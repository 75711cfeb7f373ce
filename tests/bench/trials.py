"""What is measured: each trial with its ways, the workspace it begins on, its sizes, and its targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SMALL = (1_558, 10_000)
USUAL = (*SMALL, 100_000)

# other programs that read such results, each with what its environment holds
PEERS: Mapping[str, Sequence[str]] = {
    "sqlite-utils": ("sqlite-utils==4.2.1", "pydantic"),
    "pydantic-ai": ("pydantic-ai-slim[google]==2.68.0",),
    "curator": ("bespokelabs-curator==0.1.31",),
}
_PEERS_FOLDER = Path(__file__).parents[2] / "data" / "bench" / "peers"


def peer_python(name: str) -> Path:
    """Return where the Python of a peer is, once `python -m tests.bench.peers` made it."""
    return _PEERS_FOLDER / name / "bin" / "python"


At = tuple[str, int]  # a way and a number of rows
LARGE: At = ("product", 100_000)
PROMISED: At = ("limit with promises", 100_000)


@dataclass(frozen=True)
class Target:
    """A bound on one ratio: `measure` of `over` divided by that of `under`, or by `below` of it, in one run."""

    says: str
    over: At
    under: At
    least: float | None = None
    most: float | None = None
    measure: str = "wall"
    below: str = ""


@dataclass(frozen=True)
class Trial:
    """One kind of work, done in several ways on copies of one workspace.

    `ways` map a name to `module:function` of `tests.bench`, `outcome` to what tells what came of it. All ways but
    those `apart` must come to the same; `slow` ones are run once above `once_above` rows; `full` are more sizes,
    with FULL=1 alone. `environ` is what every way finds in its environment, `pythons` those that need another one;
    `told` where what came of each way stands beside its time.
    """

    title: str
    ground: str
    ways: Mapping[str, str]
    targets: Sequence[Target] = ()
    outcome: str = ""
    apart: frozenset[str] = frozenset()
    slow: frozenset[str] = frozenset({"naive"})
    once_above: int = 10_000
    environ: Mapping[str, str] = field(default_factory=dict)
    pythons: Mapping[str, Path] = field(default_factory=dict)
    told: bool = False
    sizes: tuple[int, ...] = USUAL
    full: tuple[int, ...] = ()


_LOCAL = {"FINDABLE_BACKEND": "local", "FINDABLE_EMBEDDING_MODEL": "gemini-embedding-2"}  # questions are embedded here
# of products of matrices, as every command has it: a second one spins, and costs more than it helps where others work
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}

TRIALS: dict[str, Trial] = {
    "requests": Trial(
        "write request files, claims included",
        "untagged",
        {
            "product": "product:requests",
            "naive": "naive.rows:requests",
            "limit": "limit.rows:requests",
            "limit with promises": "limit.promises:requests",
        },
        (
            Target("naive / product", ("naive", 100_000), LARGE, least=8),
            Target("limit / product", ("limit", 100_000), LARGE, least=0.55),
            Target("limit with promises / product", ("limit with promises", 100_000), LARGE, least=0.55),
        ),
        "outcomes:requests",
    ),
    "ingest": Trial(
        "ingest, score and account included",
        "downloaded",
        {
            "product": "product:ingest",
            "product, NORMAL": "product:ingest(NORMAL)",
            "file order": "fileorder:ready",
            "naive": "naive.rows:ingest",
            "limit": "limit.rows:ingest",
            "limit with promises": "limit.promises:ingest",
        },
        (
            Target("naive / product", ("naive", 10_000), ("product", 10_000), least=20),
            Target("limit / product", ("limit", 100_000), LARGE, least=0.40),
            Target("limit with promises / product", ("limit with promises", 100_000), LARGE, least=0.40),
            Target("file order / product", ("file order", 100_000), LARGE, least=1.8),
            Target("FULL / NORMAL", LARGE, ("product, NORMAL", 100_000), most=1.15),
        ),
        "outcomes:ingest",
        environ=_ONE_THREAD,
    ),
    "ingest-two": Trial(
        "ingest of ten batches, with a second process",
        "downloaded in parts",
        {
            "product": "product:ingest_parts",
            "one process": "product:ingest_parts(alone)",
            "limit with promises": "limit.promises:ingest(two)",
            "its one process": "limit.promises:ingest",
        },
        (
            Target("one process / two", ("one process", 100_000), LARGE, least=1.7),
            Target("the same at the limit with promises", ("its one process", 100_000), PROMISED, least=1.7),
        ),
        "outcomes:ingest",
        environ=_ONE_THREAD,
    ),
    "ingest-shared": Trial(
        "ingest of one batch, with a second process",
        "downloaded",
        {"product": "product:ingest(two)", "one process": "product:ingest"},
        (),
        "outcomes:ingest",
        environ=_ONE_THREAD,
        sizes=(100_000,),
    ),
    "ingest-two-passages": Trial(
        "ingest of ten batches of passages, with a second process",
        "passages in parts",
        {"product": "product:ingest_passages", "one process": "product:ingest_passages(alone)"},
        (Target("one process / two", ("one process", 50_000), ("product", 50_000), least=1.7),),
        "outcomes:passages",
        environ=_ONE_THREAD,
        sizes=(10_000, 50_000),
    ),
    "ingest-postgresql": Trial(
        "ingest on PostgreSQL",
        "downloaded",
        {
            "product": "postgresql:ingest",
            "product, not waiting": "postgresql:ingest(unsynced)",
            "naive": "postgresql:naive",
        },
        (
            Target("naive / product, both not waiting", ("naive", 10_000), ("product, not waiting", 10_000), least=20),
            Target("naive / product that waits", ("naive", 10_000), ("product", 10_000), least=20),
        ),
        once_above=1_558,
        environ=_ONE_THREAD,
        sizes=SMALL,
    ),
    "score": Trial(
        "score",
        "tagged",
        {
            "product": "product:score",
            "naive": "naive.rows:score",
            "naive, at once": "naive.rows:score_at_once",
            "limit": "limit.rows:score",
        },
        (Target("naive / product", ("naive", 100_000), LARGE, least=15),),
        "outcomes:score",
        slow=frozenset({"naive", "naive, at once"}),
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
        {
            "product": "product:index",
            "less its words": "words:index_without",
            "naive": "naive.vectors:index",
            "naive, of lists": "naive.vectors:index(lists)",
            "limit": "limit.vectors:index",
            "limit with promises": "limit.builds:index",
        },
        (
            Target("with / less its words, CPU", LARGE, ("less its words", 100_000), most=2, measure="cpu"),
            Target("naive / less its words", ("naive", 100_000), ("less its words", 100_000), least=5),
            Target("naive / limit with promises", ("naive", 100_000), ("limit with promises", 100_000), least=5),
        ),
        "outcomes:index",
        slow=frozenset({"naive", "naive, of lists"}),
    ),
    "first-index": Trial(
        "first index, embedded by the local engine",
        "scored",
        {"product": "words:first_index", "less its words": "words:first_index(without)"},
        (
            Target(
                "with / less its words, CPU", ("product", 10_000), ("less its words", 10_000), most=1.2, measure="cpu"
            ),
        ),
        slow=frozenset(),
        sizes=SMALL,
    ),
    "reindex": Trial(
        "index after 1 % changed",
        "changed",
        {
            "product": "product:index(0.01)",
            "less its words": "words:index_without(0.01)",
            "limit with promises": "limit.builds:reindex",
        },
        outcome="outcomes:index",
    ),
    "cache-write": Trial(
        "vector cache, 10,000 a call",
        "cached",
        {
            "product": "product:cache_write(10000)",
            "naive": "naive.vectors:write(10000 FULL)",
            "naive, NORMAL": "naive.vectors:write(10000 NORMAL)",
            "limit": "limit.vectors:write",
        },
        (Target("naive / product", ("naive", 100_000), LARGE, least=3),),
        slow=frozenset(),
    ),
    "cache-calls": Trial(
        "vector cache, 100 a call",
        "cached",
        {
            "product": "product:cache_write(100)",
            "naive": "naive.vectors:write(100 FULL)",
            "naive, NORMAL": "naive.vectors:write(100 NORMAL)",
        },
        slow=frozenset(),
    ),
    "cache-scan": Trial(
        "vector cache, read all",
        "cached",
        {
            "product": "product:cache_scan",
            "naive": "naive.vectors:scan",
            "limit": "limit.vectors:scan",
            "limit with promises": "limit.vectors:scan_checked",
        },
        (
            Target("naive / product", ("naive", 100_000), LARGE, least=4),
            Target("naive / limit with promises", ("naive", 100_000), PROMISED, least=4),
        ),
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
            Target("the same at 100k", LARGE, ("limit", 100_000), most=1.5),
            Target("CPU at 100k / 200", LARGE, ("product", 200), most=1.3, measure="cpu"),
        ),
        sizes=(200, *USUAL),
    ),
    "search-command": Trial(
        "start-up, search by the local engine",
        "indexed",
        {
            "product": "product:command(-m jobs search water%law)",
            "limit": "product:command(-c import%click,faiss,sqlalchemy,tokenizers)",
        },
        (
            Target("CPU / importing its libraries", LARGE, ("limit", 100_000), most=2.2, measure="cpu"),
            Target("CPU at 100k / 200", LARGE, ("product", 200), most=1.3, measure="cpu"),
        ),
        environ=_LOCAL,
        sizes=(200, 100_000),
    ),
    "search": Trial(
        "search, one question to an open index",
        "indexed",
        {"product": "product:search", "by words, too": "words:search", "limit": "limit.vectors:search"},
        (
            Target("product / numpy product", LARGE, ("limit", 100_000), most=1.2),
            Target("by words, too / product, CPU", ("by words, too", 100_000), LARGE, most=1.5, measure="cpu"),
        ),
        apart=frozenset({"by words, too"}),
        environ=_ONE_THREAD,
    ),
    "search-opening": Trial(
        "search, index opened for it",
        "indexed",
        {"product": "product:search_opening", "naive": "naive.vectors:search"},
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
            "product": "local:in_process",
            "over HTTP": "local:embeddings(100)",
            "naive": "local:embeddings(1)",
            "limit": "local:encoder",
            "limit, wordllama": "local:wordllama",
        },
        (
            Target("encoder / product", ("limit", 1_558), ("product", 1_558), least=0.6),
            Target("wordllama / product", ("limit, wordllama", 1_558), ("product", 1_558), least=0.8),
        ),
        apart=frozenset({"limit, wordllama"}),
        slow=frozenset(),
        sizes=(1_558,),
    ),
    "bar-requests": Trial(
        "progress bar, request files",
        "untagged",
        {"product": "product:requests(bar)", "limit": "product:requests"},
        (Target("all / all less its bar, CPU", LARGE, LARGE, most=1.01, measure="cpu", below="rest"),),
        "outcomes:requests",
    ),
    "bar-ingest": Trial(
        "progress bar, ingest",
        "downloaded",
        {"product": "product:ingest(bar)", "limit": "product:ingest"},
        (Target("all / all less its bar, CPU", LARGE, LARGE, most=1.01, measure="cpu", below="rest"),),
        "outcomes:ingest",
    ),
}

TRIALS["page-search"] = Trial(
    "a search of the page, and its scan and look-up of words alone",
    "indexed",
    {"product": "page:search", "limit": "page:look_up"},
    (Target("product / limit", LARGE, ("limit", 100_000), most=1.5),),
    apart=frozenset({"product", "limit"}),
    environ=_LOCAL,
)
TRIALS["page-crowd"] = Trial(
    "200 readers and 5 editors of the page",
    "indexed",
    {"product": "page:crowd"},
    apart=frozenset({"product"}),
    environ=_LOCAL,
    sizes=(100_000,),
    told=True,
)

# One run at each size, and nothing to compare: what is held in memory, however many rows there are
for _name, _ground, _way, _limit, _rows in (
    ("memory-requests", "untagged", "product:requests(millions)", "limit.rows:requests", 5_500_000),
    ("memory-ingest", "downloaded in parts", "product:ingest_parts(alone)", "", 5_500_000),
    ("memory-score", "tagged", "product:score", "limit.rows:score", 5_500_000),
    ("memory-index", "scored", "product:index(1)", "", 550_000),
):
    TRIALS[_name] = Trial(
        f"memory of {_way.partition(':')[2].partition('(')[0].partition('_')[0]}",
        _ground,
        {"product": _way, **({"limit": _limit} if _limit else {})},
        (
            Target(
                f"anonymous memory but SQLite's at {_rows // 1000:,}k / 55k",
                ("product", _rows),
                ("product", 55_000),
                most=1.1,
                measure="own",
            ),
        ),
        slow=frozenset({"product", "limit"}),
        sizes=(),
        full=(55_000, _rows),
    )

_INSTALLED = {name: peer_python(name) for name in PEERS if peer_python(name).exists()}
TRIALS["peers"] = Trial(
    "a downloaded result read, by us and by others",
    "downloaded",
    {
        "product": "product:ingest_told",
        "loop": "peers.loop:read",
        **{name: f"peers.{name.replace('-', '_')}_read:read" for name in _INSTALLED},
    },
    apart=frozenset({"product", "loop", *_INSTALLED}),
    slow=frozenset({"pydantic-ai", "curator"}),
    once_above=1_000,
    sizes=(10_000,),
    pythons=_INSTALLED,
    told=True,
)

# Targets between two trials: (trial over, trial under, target)
BETWEEN: tuple[tuple[str, str, Target], ...] = (
    ("ingest-postgresql", "ingest", Target("PostgreSQL / SQLite", ("product", 10_000), ("product", 10_000), most=1.5)),
    ("rescore", "score", Target("nothing to change / first", LARGE, LARGE, most=0.4)),
    ("reindex", "index", Target("after 1 % changed / full", LARGE, LARGE, most=0.3)),
    ("reindex", "index", Target("the same at the limit with promises", PROMISED, PROMISED, most=0.3)),
)
