"""The import rule of the house, held over the import graph, and what the light commands must not load.

Imports point downward only: a module of `pipeline` imports from rows above its own in `ROWS`, and freely inside its
own room. A new room needs a place there: adding one is a decision.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.cli import COMMANDS, SUMMARIES

ROOT = Path(__file__).parents[2]
OURS = ("pipeline", "jobs", "emulator")
MODULES = sorted(path for top in OURS for path in (ROOT / top).rglob("*.py"))
JOBS = sorted(path for path in (ROOT / "jobs").glob("*.py"))

ROWS = (  # from the ground up
    {"errors", "states"},
    {
        "settings",
        "display",
        "discretion",
        "abreast",
        "garbage",
        "spreadsheet",
        "wording",
        "delimiting",
    },
    {"files", "traces"},
    {"quality"},
    {"task"},
    {"gemini", "store", "index"},
    {"tables"},
    {"experts", "passages"},  # side by side: no subject knows another
    {"runtime", "apply", "engine"},
    {"estimating", "spending", "window", "ways", "gating", "comparing", "reviewing", "reporting"},
    {"batch"},
    {"preparing", "adopting", "embedding", "evaluation", "piloting"},
    {"creating", "freshness", "building", "uploads", "backups", "withdrawing"},
    {"live"},
    {"sampling"},
    {"preflighting", "workflows"},
    {"checks"},
    {"forgetting"},
    {"collecting"},
    {"steps"},
    {"workflows"},
    {"routines"},
)
LEVEL = {room: level for level, row in enumerate(ROWS) for room in row}

# who may import a subject: the place where parts are put together, and the steps that are about its rows
SUBJECTS = {"experts", "passages"}
OF_SUBJECTS = {
    "pipeline.runtime",
    *(
        f"pipeline.steps.{name}"
        for name in (
            "add_expert",
            "doctor",
            "export",
            "forget",
            "import_experts",
            "import_passages",
            "move",
            "best_concepts",
            "parked",
            "score",
            "show",
            "status",
        )
    ),
}
# what a command may take from the pipeline: steps, what it opens a workspace with, and the types that steps hand back
FOR_JOBS = {
    "workflows",
    "routines",
    "steps",
    "runtime",
    "settings",
    "display",
    "discretion",
    "errors",
    "states",
    "tables",
    "task",
    "preparing",
    "preflighting",
    "reporting",
    "ways",
    "withdrawing",
}

OWNERS: dict[str, tuple[str, ...]] = {  # outside library -> where it may be imported
    "genai_prices": ("pipeline.gemini.prices",),
    "google": ("pipeline.gemini.client", "pipeline.gemini.channel", "pipeline.gemini.live"),
    "httpx2": ("pipeline.gemini.channel", "pipeline.gemini.live"),
    "tenacity": ("pipeline.gemini.channel",),
    "sqlalchemy": (
        "pipeline.store",
        "pipeline.experts.table",
        "pipeline.tables",
        "pipeline.experts.schema",
        "pipeline.experts.adopt",
        "pipeline.experts.remove",
        "pipeline.passages.table",
        "pipeline.passages.schema",
        "pipeline.passages.adopt",
        "pipeline.passages.checking",
        "pipeline.passages.measuring",
        "pipeline.passages.preferring",
        "pipeline.passages.stock",
        "pipeline.task",  # for its types alone
    ),
    "alembic": ("pipeline.store",),
    "psycopg": ("pipeline.store.dumps",),  # how it writes a URL down; all else goes through sqlalchemy
    "psutil": ("pipeline.store.owners",),
    "faiss": ("pipeline.index",),
    "numpy": (
        "pipeline.index",
        "pipeline.gemini",
        "pipeline.embedding",
        "pipeline.evaluation",
        "emulator",
    ),
    "jsonlines": ("pipeline.files",),
    "orjson": (
        "pipeline.files",
        "pipeline.gemini",
        "pipeline.index",
        "pipeline.tables",
        "pipeline.experts",
        "pipeline.passages",
        "emulator",
    ),
    "pydantic": ("pipeline.gemini", "pipeline.experts", "pipeline.passages", "pipeline.task", "pipeline.apply"),
    "pyarrow": ("pipeline.tables",),
    "charset_normalizer": ("pipeline.tables.text_file",),
    "rapidfuzz": ("pipeline.passages",),
    "click": ("jobs",),
    "rich": ("jobs",),
    "dotenv": ("jobs.command",),
    "starlette": ("emulator",),
    "uvicorn": ("emulator",),
    "wordllama": ("emulator.models",),
    "snowballstemmer": ("emulator.models",),
}
TYPES_ONLY = {("pipeline.task", "sqlalchemy"), ("pipeline.task", "pydantic"), ("pipeline.apply", "pydantic")}

# the only doors of the local engine, and who may open them
DOORS = {"emulator.server.start": {"pipeline.runtime"}, "emulator.server.serve": {"jobs.emulator"}}

MAX_JOB_LINES = 80
SHARED_BY_JOBS = {"cli.py", "command.py", "output.py", "render.py", "__main__.py"}


def _name(path: Path) -> str:
    """Return a file's dotted module name; a package's is that of its directory."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imports(tree: ast.AST) -> Iterator[str]:
    """Yield every absolute name that is imported, also inside functions and `if TYPE_CHECKING`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write the absolute import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _inside(module: str, rooms: tuple[str, ...] | set[str]) -> bool:
    """Return whether a module is one of these, or stands in one of them."""
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def why_not(module: str, name: str) -> str | None:
    """Return what is wrong with `module` importing `name`, with where it belongs instead; None where nothing is."""
    top, target = module.split(".", maxsplit=1)[0], name.split(".", maxsplit=1)[0]
    if target not in OURS:
        return _why_not_library(module, target)
    if target == "emulator" and top != "emulator":
        allowed = DOORS.get(name, set())
        return None if module in allowed else f"{name}: only {DOORS} lead into the local engine"
    if target == "jobs" and top != "jobs":
        return f"{name}: nothing below the commands imports them"
    if target != "pipeline":
        return None
    if top == "emulator":
        return f"{name}: the local engine knows nothing of its client; what both need stands in each"
    return _why_not_room(module, name)


def _why_not_library(module: str, library: str) -> str | None:
    if library in sys.stdlib_module_names:
        return None
    owners = OWNERS.get(library)
    if owners is None:
        return f"{library}: a new library needs an owner in OWNERS"
    if _inside(module, owners):
        return None
    return f"{library}: it belongs to {' or '.join(owners)}; ask that module instead"


def _why_not_room(module: str, name: str) -> str | None:
    parts = module.split(".")
    room = [*name.split("."), ""][1]
    if room in SUBJECTS and parts[1] not in SUBJECTS and module not in OF_SUBJECTS:
        return f"{name}: only runtime and the steps about a subject's rows know it; ask the task or the collection"
    if parts[0] == "jobs":
        return None if room in FOR_JOBS else f"{name}: a command asks a step for this"
    if len(parts) == 1 or room not in LEVEL or parts[1] not in LEVEL:
        return f"{name}: a new room needs a place in ROWS"
    if room == parts[1] and room != "steps":
        return None
    if LEVEL[room] < LEVEL[parts[1]]:
        return None
    below = " or ".join(sorted(ROWS[LEVEL[parts[1]] - 1])) if LEVEL[parts[1]] else "nothing"
    return f"{name}: {parts[1]} may import {below} and what is under it; what both need belongs further down"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_point_downward(path: Path) -> None:
    """Every import stays in its room or goes down, each library has one owner, and subjects are known to few."""
    module = _name(path)
    wrong = {why for name in _imports(_tree(path)) if (why := why_not(module, name))}
    assert not wrong, f"{module} imports\n  " + "\n  ".join(sorted(wrong))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("pipeline.store.batches", "pipeline.gemini.limits"),
        ("pipeline.gemini.costs", "pipeline.index.builds"),
        ("pipeline.index.builds", "pipeline.store.builds"),
        ("pipeline.steps.index", "pipeline.steps.search"),
        ("pipeline.files", "pipeline.store.database"),
        ("pipeline.preparing", "pipeline.experts.table"),
        ("pipeline.preparing", "pipeline.passages.table"),
        ("pipeline.passages.importing", "pipeline.experts.rates"),
        ("pipeline.steps.batch_submit", "pipeline.experts.tags"),
        ("pipeline.apply", "pipeline.steps.index"),
        ("pipeline.runtime", "jobs.output"),
        ("pipeline.creating", "emulator.server.start"),
        ("pipeline.runtime", "emulator.world.World"),
        ("jobs.index", "emulator.server.start"),
        ("emulator.world", "pipeline.files"),
        ("jobs.index", "pipeline.store.batches"),
        ("jobs.index", "pipeline.experts.table"),
        ("pipeline.steps.index", "faiss"),
        ("pipeline.gemini.costs", "google.genai"),
        ("pipeline.creating", "tenacity.retry"),
        ("pipeline.experts.tags", "sqlalchemy.select"),
        ("pipeline.steps.show", "sqlalchemy.select"),
        ("pipeline.steps.show", "click.echo"),
        ("pipeline.store.schema", "requests.get"),
        ("pipeline.newroom", "pipeline.files"),
    ],
)
def test_the_rule_sees_each_kind_of_wrong_import(module: str, name: str) -> None:
    """Imports that break the rule, one of each kind, are told apart from good ones."""
    assert why_not(module, name)


@pytest.mark.parametrize(("module", "library"), sorted(TYPES_ONLY))
def test_types_are_imported_for_the_type_checker_alone(module: str, library: str) -> None:
    """What a module needs a library's types for is not loaded when it runs."""
    tree = _tree(ROOT / f"{module.replace('.', '/')}.py")
    guarded = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    everywhere = [name for name in _imports(tree) if name.split(".")[0] == library]
    for_types = [name for block in guarded for name in _imports(block) if name.split(".")[0] == library]
    assert everywhere
    assert everywhere == for_types


@pytest.mark.parametrize("path", [path for path in JOBS if path.name not in SHARED_BY_JOBS], ids=_name)
def test_commands_are_thin(path: Path) -> None:
    """A command takes options, calls a step and prints: each is short, and neither waits nor catches anything."""
    lines = path.read_text(encoding="utf-8").splitlines()
    most = MAX_JOB_LINES * max(1, sum(line.startswith("@click.command") for line in lines))
    assert len(lines) <= most, f"{path.name} has {len(lines)} lines; what it works out belongs in a step"
    found = [type(node).__name__ for node in ast.walk(_tree(path)) if isinstance(node, ast.While | ast.Try)]
    assert not found, f"{path.name} has {found}; a step decides and jobs/command.py turns errors into exit codes"


def test_every_module_has_its_room() -> None:
    """Every room of the pipeline stands in ROWS, and ROWS names none that is gone."""
    rooms = {_name(path).split(".")[1] for path in MODULES if _name(path).startswith("pipeline.")}
    assert rooms == set(LEVEL)


ENGINE = [
    path
    for path in MODULES
    if _name(path).startswith("pipeline.")
    and not _inside(_name(path), {"pipeline.experts", "pipeline.settings", *OF_SUBJECTS})
    and _name(path) != "pipeline.steps.search"
]


@pytest.mark.parametrize("path", ENGINE, ids=_name)
def test_the_engine_never_names_experts(path: Path) -> None:
    """The word stands nowhere in the engine: neither in its code, nor in what it says, nor in its comments."""
    said = [
        f"{number}: {line.strip()}"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if "expert" in line.replace("import_experts", "").lower()
    ]
    assert not said, f"{_name(path)} names a subject; ask the task, and say item\n  " + "\n  ".join(said)


HEAVY = (
    "google.genai",
    "genai_prices",
    "faiss",
    "numpy",
    "pydantic",
    "sqlalchemy",
    "alembic",
    "wordllama",
    "starlette",
)

LOADED = """\
import sys
from jobs.cli import main
try:
    main(sys.argv[1:], prog_name="findable")
except SystemExit as done:
    assert not done.code, done.code
print("LOADED", *(name for name in {heavy} if name in sys.modules))
"""


def _loaded(data: Path, *args: str) -> set[str]:
    """Return which heavy libraries one command loads, in a process of its own."""
    script = LOADED.format(heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", script, *args],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "FINDABLE_DATA": str(data), "PATH": "/usr/bin:/bin"},
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_loads_no_heavy_library(tmp_path: Path) -> None:
    """`findable --help` starts at once, because it loads none of what work needs."""
    assert _loaded(tmp_path, "--help") == set()


def test_status_loads_only_the_database(tmp_path: Path) -> None:
    """`findable status` loads no SDK, no index, no arithmetic and no validation; the first one makes the schema."""
    _loaded(tmp_path, "status")
    assert _loaded(tmp_path, "status") == {"sqlalchemy"}


@pytest.mark.parametrize(
    ("words", "loads"),
    [
        (("import", "{data}/people.csv"), {"sqlalchemy"}),
        (("batches",), {"sqlalchemy"}),
        (("score",), {"sqlalchemy"}),
        (("show", "ann"), {"sqlalchemy"}),
        (("export", "{data}/out.csv"), {"sqlalchemy"}),
        (("settings",), set()),
        (("preflight",), {"sqlalchemy", "pydantic"}),
        (("batch-submit", "--dry"), {"sqlalchemy", "pydantic"}),
        (("batch-poll",), {"sqlalchemy"}),
        (("batch-ingest",), {"sqlalchemy"}),
        (("doctor",), {"sqlalchemy", "numpy"}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_commands_load_what_they_use_and_no_more(tmp_path: Path, words: tuple[str, ...], loads: set[str]) -> None:
    """With nothing to send, judge or embed, a command loads neither the SDK nor the index."""
    people = tmp_path / "people.csv"
    people.write_text("Username,Bio\nann,I keep bees.\n")
    _loaded(tmp_path, "import", str(people))
    assert _loaded(tmp_path, *(word.format(data=tmp_path) for word in words)) == loads


def test_the_list_of_commands_names_each_with_a_line_that_fits() -> None:
    """What `--help` says of the commands without importing them is there for each, and fits a terminal."""
    assert list(SUMMARIES) == list(COMMANDS)
    assert all(len(said) <= 62 and said.endswith(".") for said in SUMMARIES.values())
