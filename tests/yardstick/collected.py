"""What a workspace of the version before says, writes and asks, by which names; any version collects it alike."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from emulator.server import start
from jobs.cli import Commands
from jobs.cli import main as findable
from jobs.commands import COMMANDS
from tests import postgresql
from tests.lab import DATABASE, ROOT, Api, Workspace, copy_tree
from tests.yardstick.going_on import PASSAGES, end_probes, go_on_with_passages, go_on_with_people
from tests.yardstick.opened import Kept

NEWEST = 24  # batch in the fixture
ANY = "<{}>"  # of a value of which only the type is compared
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?([+-]\d\d:\d\d|Z)?")
PROSE = frozenset({"message", "said", "why", "text", "next", "reason", "takes", "quota", "warnings", "mended", "help"})
VARIES = frozenset({"age_s", "workspace", "path", "report", "seconds", "uptime"})
AS_BEFORE = {"VERSION": "expert-tags@1"}  # what people were asked under; without it they are asked the next question
MODELS = """[models."gemini-3.5-flash-lite"]
price_in = 0.3
price_out = 2.5
priced_on = 2026-10-07
source = "a page"
kind = "generate"
enqueued_tokens = {}
"""

DOCUMENTS: Mapping[str, tuple[tuple[str, ...], Mapping[str, str]]] = {
    "status": (("status",), {}),
    "status of passages": (("status",), PASSAGES),
    "passages-status": (("passages-status",), {}),
    "batches": (("batches",), {}),
    "show, tagged": (("show", "person-1"), {}),
    "show, parked": (("show", "person-7"), {}),
    "show, live": (("show", "person-13"), {}),
    "show, passage": (("best-concepts", "p-00"), {}),
    "versions": (("versions",), {}),
    "versions of passages": (("versions",), PASSAGES),
    "parked": (("parked",), {}),
    "parked passages": (("parked",), PASSAGES),
    "doctor": (("doctor",), {}),
    "preflight": (("preflight",), AS_BEFORE),
    "preflight of passages": (("preflight",), PASSAGES),
    "settings": (("settings",), {}),
    "search": (("search", "water and bees", "-k", "3"), {}),
    "dry": (("batch-submit", "--dry"), AS_BEFORE),
    "dry, passages": (("batch-submit", "--dry"), PASSAGES),
    "qc": (("qc",), {}),
    "qc of passages": (("qc",), PASSAGES),
    "clean": (("clean", "--dry"), {}),
}
"""What is asked of the workspace with `--json`, in this order, before anything is gone on with."""

EXITS: tuple[tuple[tuple[str, ...], Mapping[str, str]], ...] = (
    (("nonsense",), {}),
    (("status", "--nope"), {}),
    (("status",), {"TASK": "planets"}),
    (("status",), {"DIM": "none"}),
    (("show", "nobody"), {}),
    (("best-concepts", "p-99"), {}),
    (("batch-cancel", "999", "--yes"), {}),
    (("batch-cancel", "1", "--yes"), {}),
    (("rollback", "nothing@9", "--yes"), {}),
    (("rollback", "expert-tags@1"), {}),
    (("search", "water", "-k", "0"), {}),
    (("search", "water"), {"DIM": "256"}),
    (("import", "missing.csv"), {}),
    (("import-passages", "missing.jsonl"), {}),
    (("export", "out.unknown"), {}),
    (("restore", "missing"), {}),
    (("unpark", "nobody", "--yes"), {}),
    (("unpark",), {}),
    (("forget", "nobody", "--yes"), {}),
    (("rebind", "--yes"), {}),
    (("batch-submit", "--limit", "none"), {}),
    (("batch-submit",), {**PASSAGES, "VERSION": "old@1"}),
    (("preflight", "--deadline", "soon"), {}),
    (("status",), {"BACKEND": "local"}),
    (("passages-pilot", "--yes"), {**PASSAGES, "GATES": "nothing=1"}),
    (("passages-backfill", "--yes"), {**PASSAGES, "VERSION": "fresh@1"}),
)
"""Commands that end with an exit code of their own and change nothing."""


def variants(folder: Path) -> dict[str, dict[str, str]]:
    """Return the settings under which request files are written, each by its name."""
    narrow = folder / "models.toml"
    narrow.write_text(MODELS.format(9_000))
    of: dict[str, dict[str, str]] = {
        "plain": {},
        "by bytes": {"BATCH_ROWS": "1000", "BATCH_BYTES": "9000"},
        "by tokens": {"BATCH_ROWS": "1000", "BATCH_TOKENS": "1700"},
        "limited": {"LIMIT": "7"},
        "within a quota": {"MODELS_FILE": str(narrow), "TIER": "1", "BATCH_ROWS": "1000"},
    }
    people = {f"people, {name}": {**values, **AS_BEFORE} for name, values in of.items()}
    texts = {f"passages, {name}": {**PASSAGES, **values} for name, values in of.items()}
    people["people, within a budget"] = {"BUDGET_PER_DAY": "0.0156", **AS_BEFORE}
    texts["passages, within a budget"] = {**PASSAGES, "BUDGET_PER_DAY": "0.02"}
    return people | texts


@contextmanager
def copied(kept: Kept, name: str) -> Iterator[tuple[Workspace, Api]]:
    """Yield a copy of the fixture, without a probe that is under way, and its API, for the length of a block."""
    home = kept.home.with_name(name.replace(", ", "-").replace(" ", "-"))
    copy_tree(kept.home, home)
    copy = Kept(home, {**kept.environ, "FINDABLE_DATA": str(home / "data")})
    with start(copy.engine, settings={"batch_looks": 1}) as server:
        workspace = copy.workspace(server.url)
        end_probes(workspace)
        yield workspace, Api(server)
    shutil.rmtree(home)
    if workspace.on_postgresql:
        postgresql.drop_below(home)


def requests(kept: Kept, values: Mapping[str, str]) -> tuple[int, dict[str, bytes]]:
    """Return how the next `batch-submit` ends, and the request files that it writes."""
    with copied(kept, "requests") as (workspace, _api):
        ended = workspace.run("batch-submit", "--yes", **values)
        files = sorted((workspace.data / "batches").glob("*-requests.jsonl"))
        return ended.exit_code, {path.name: path.read_bytes() for path in files if int(path.name[:6]) > NEWEST}


def digests(written: tuple[int, dict[str, bytes]]) -> dict[str, Any]:
    """Return how a `batch-submit` ended, and the digest of each request file."""
    code, files = written
    return {"exit": code, "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}}


def live_requests(kept: Kept) -> dict[str, list[str]]:
    """Return the digests of what live calls and embedding calls send."""
    with copied(kept, "live") as (workspace, api):
        workspace.run("tag-live", "--limit", "4", **AS_BEFORE)
        workspace.run("tag-live", "--limit", "4", **PASSAGES)
        workspace.run("index")
        workspace.run("search", "water and bees")
        return {
            word: sorted(one["body_sha256"] for one in api.seen("POST", word))
            for word in (":generateContent", ":batchEmbedContents")
        }


def documents(kept: Kept) -> dict[str, Any]:
    """Return what each command says, reduced to what does not change from run to run, and its exit code."""
    found: dict[str, Any] = {}
    with copied(kept, "documents") as (workspace, _api):
        for name, (words, values) in DOCUMENTS.items():
            ended = workspace.run(*words, "--json", **values)
            said = json.loads(ended.stdout) if ended.stdout else None
            found[name] = {"exit": ended.exit_code, "said": steady(said, prose=name == "doctor")}
        for name in ("people.csv", "people.jsonl"):
            workspace.run("export", name)
            found[f"export {name}"] = Path(name).read_text().replace(str(workspace.data), "<data>")
        workspace.run("export", "concepts.jsonl", **PASSAGES)
        lines = Path("concepts.jsonl").read_text().splitlines()
        found["export concepts.jsonl"] = [steady(json.loads(line)) for line in lines]
    return found


def exits(kept: Kept) -> dict[str, int]:
    """Return the exit codes of commands that are refused."""
    with copied(kept, "exits") as (workspace, _api):
        return {
            " ".join((*words, *sorted(values.values()))): workspace.run(*words, **values).exit_code
            for words, values in EXITS
        }


def steady(found: Any, *, key: str = "", prose: bool = False) -> Any:
    """Return a document with types in the place of times and of what else is another each time, and of prose."""
    if key == "versions" and prose:
        return ANY.format("dict")
    if isinstance(found, dict):
        return {name: steady(value, key=name, prose=prose) for name, value in found.items()}
    if isinstance(found, list):
        return [steady(one, key=key, prose=prose) for one in found]
    if key in VARIES or (isinstance(found, str) and (key in PROSE or (prose and " " in found))):
        return ANY.format(type(found).__name__)
    return TIME.sub("<time>", found) if isinstance(found, str) else found


def tables(workspace: Workspace) -> dict[str, dict[str, str]]:
    """Return the types of all columns, by table and column; those of SQLite's own tables are not among them."""
    if workspace.on_postgresql:
        rows = workspace.query(
            "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
        )
    else:
        rows = [
            (table, name, kind)
            for table in workspace.tables()
            if not table.startswith("sqlite_")
            for _, name, kind, *_ in workspace.query(f"PRAGMA table_info({table})")
        ]
    found: dict[str, dict[str, str]] = {}
    for table, name, kind in sorted(rows):
        found.setdefault(table, {})[name] = kind
    return found


def indexes(workspace: Workspace) -> list[str]:
    """Return the names of all indexes that were given one."""
    if workspace.on_postgresql:
        rows = workspace.query("SELECT indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1")
    else:
        rows = workspace.query("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY 1")
    return [row[0] for row in rows]


WORDS = {
    "moves": "SELECT DISTINCT coalesce(old, ''), new FROM findable_events WHERE kind = 'batch'",
    "kinds": "SELECT DISTINCT kind FROM findable_events",
    "tries": "SELECT DISTINCT outcome FROM findable_tries",
    "requests": "SELECT DISTINCT task, outcome FROM findable_requests WHERE outcome IS NOT NULL",
    "attempts": "SELECT DISTINCT outcome FROM findable_attempts",
    "calls": "SELECT DISTINCT purpose, outcome FROM findable_calls",
    "pilots": "SELECT DISTINCT verdict FROM findable_pilots",
    "runs": "SELECT DISTINCT mode FROM findable_runs",
    "versions": "SELECT DISTINCT task, version, model FROM findable_versions",
    "extractors": "SELECT DISTINCT task, extractor FROM findable_batches",
    "request files": "SELECT DISTINCT substr(request_file, 1, 8), substr(request_file, 15) FROM findable_batches",
    "result files": "SELECT DISTINCT substr(result_file, 1, 8), substr(result_file, 15) FROM findable_batches"
    " WHERE result_file IS NOT NULL",
    "backend": "SELECT backend FROM findable_workspace",
}
NOTED = "BEGIN INSERT INTO leases_taken VALUES (new.name); RETURN new; END"
NOTING = {
    "sqlite": (
        "CREATE TABLE leases_taken (name TEXT)",
        "CREATE TRIGGER noting AFTER INSERT ON findable_leases BEGIN INSERT INTO leases_taken VALUES (new.name); END",
    ),
    "postgresql": (
        "CREATE TABLE leases_taken (name TEXT)",
        f"CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ {NOTED} $$",
        "CREATE TRIGGER noting AFTER INSERT ON findable_leases FOR EACH ROW EXECUTE FUNCTION noted()",
    ),
}


def words(kept: Kept) -> dict[str, Any]:
    """Return the words that stand in the database at the end of all, the leases that were taken, the files' names."""
    with copied(kept, "words") as (workspace, api):
        for sql in NOTING[DATABASE]:
            workspace.change(sql)
        go_on_with_people(workspace)
        go_on_with_passages(workspace)
        found: dict[str, Any] = {name: sorted(map(list, workspace.query(sql))) for name, sql in WORDS.items()}
        taken = {row[0] for row in workspace.query("SELECT DISTINCT name FROM leases_taken")}
        found["leases"] = sorted({re.sub(r"\d+", "N", name) for name in taken})
        created = (re.sub(r"^findable-\w{16}-", "", one["displayName"]) for one in api.batches()["batches"])
        found["creates"] = sorted(re.sub(r"-\w{16}-t", "-H-t", name) for name in created)
        names = (path.relative_to(workspace.data).as_posix() for path in workspace.data.rglob("*"))
        plain = (re.sub(r"\d{8}T\d{6}Z-\w{6}", "T", name) for name in names)
        found["files"] = sorted({re.sub(r"\d+", "N", name) for name in plain if not name.startswith("findable.db")})
    return found


def commands() -> dict[str, dict[str, Any]]:
    """Return the options and arguments of every command: its words, and the setting that gives it."""
    group = findable
    assert isinstance(group, Commands)
    found = {}
    for name in COMMANDS:
        command = group.get_command(click.Context(group), name)
        assert command is not None
        found[name] = {
            str(one.name): {"words": sorted((*one.opts, *one.secondary_opts)), "envvar": one.envvar}
            for one in command.params
        }
    return found


def targets() -> list[str]:
    """Return every word of `make`."""
    makefile = (ROOT / "Makefile").read_text()
    return sorted(set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE)))


def make_values() -> list[str]:
    """Return every value that `make` hands on."""
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    line = re.search(r"^VALUES := (.*)$", makefile, flags=re.MULTILINE)
    assert line is not None
    return sorted(line[1].split())
