"""What a workspace has come to, in a form in which two runs can be compared: no times, no ids the API chose."""

import hashlib
import json
import re
import sqlite3
from collections import defaultdict
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.lab import Workspace

PEOPLE = "SELECT * FROM experts ORDER BY id"
ANSWERS = """SELECT item_id, batch, extractor, input_hash, answer, applied, outdated, tokens_in, tokens_out, cost
             FROM findable_answers ORDER BY item_id, id"""
ATTEMPTS = """SELECT item_id, batch, charged, outcome, reason, code, tokens_in, tokens_out
              FROM findable_attempts ORDER BY item_id, id"""
BATCHES = """SELECT number, state, model, requests, request_file, request_sha256, answered, refused, invalid, missing,
             not_applied, unknown, duplicates, unreadable, tokens_in, tokens_out, cost
             FROM findable_batches LEFT JOIN findable_batch_accounts ON batch = number ORDER BY number"""
CLAIMS = """SELECT task, item_id, batch, line, input_hash, open, outcome, reason
            FROM findable_requests ORDER BY batch, line"""
OPEN = "SELECT task, item_id FROM findable_requests WHERE open ORDER BY item_id"
PARKED = "SELECT task, item_id, reason FROM findable_parked ORDER BY item_id"
CONCEPTS = """SELECT passage_id, concept_name, concept_type, aliases, confidence, extractor_model, extractor_version,
              evidence FROM passage_concepts ORDER BY extractor_version, passage_id, concept_name"""
PASSAGES = "SELECT * FROM passages ORDER BY id"
VERSIONS = """SELECT task, version, model, skips, withdrawn_at IS NULL FROM findable_versions
              ORDER BY task, version, model"""
PILOTS = "SELECT DISTINCT extractor, size, seed, verdict FROM findable_pilots ORDER BY extractor, size, verdict"
RUNS = "SELECT DISTINCT extractor, why FROM findable_runs WHERE mode = 'backfill' ORDER BY extractor, why"
DUE = "SELECT item_id FROM findable_due WHERE ended_at IS NULL ORDER BY item_id"
TASKS = """SELECT name, prefix, is_query, items_sha256, key, columns, fields, version, fingerprint, words
           FROM findable_tasks ORDER BY name"""
FINGERPRINTS = "SELECT fingerprint, task, version, document FROM findable_fingerprints ORDER BY version, fingerprint"
ASKED_WITH = """SELECT item_id, answers.fingerprint, batches.fingerprint FROM findable_answers AS answers
                LEFT JOIN findable_batches AS batches ON number = batch ORDER BY item_id, answers.id"""
QUERIES = {
    "people": PEOPLE,
    "answers": ANSWERS,
    "attempts": ATTEMPTS,
    "batches": BATCHES,
    "claims": CLAIMS,
    "open": OPEN,
    "due": DUE,
    "parked": PARKED,
    "versions": VERSIONS,
    "pilots": PILOTS,
    "backfills": RUNS,
    "tasks": TASKS,
    "fingerprints": FINGERPRINTS,
    "asked with": ASKED_WITH,
    "merges": "SELECT number, old, new, who, undone_by FROM findable_merges ORDER BY number",
    "merged": "SELECT * FROM findable_merged_items ORDER BY item_id",
    "edits": """SELECT item_id, who, before, undoes FROM findable_edits e JOIN findable_answers a ON a.id = e.answer
                ORDER BY a.id""",
    "odd lines": "SELECT * FROM findable_odd_lines ORDER BY batch, line",
    "questions": "SELECT task, qid, text FROM findable_lab_questions ORDER BY task, qid",
    "judgements": "SELECT task, qid, item_id, grade FROM findable_lab_judgements ORDER BY task, qid, item_id",
}
ITEMS = """SELECT findable_key, findable_row, findable_hash, findable_empty, findable_gone_at IS NULL,
           findable_changed_at IS NULL, id, product, text FROM reviews_items ORDER BY findable_row"""
PROJECTION = "SELECT * FROM reviews_answers ORDER BY id, extractor"
VIEW = "SELECT * FROM reviews_answered ORDER BY id"
OF_OWN = {"items": ITEMS, "projection": PROJECTION, "view": VIEW}
OF_IMAGES = {
    "assets": "SELECT * FROM assets ORDER BY id",
    "asset_ai": "SELECT * FROM asset_ai ORDER BY asset_id, provider, model",
    "images": """SELECT findable_key, findable_row, findable_hash, findable_empty, findable_gone_at IS NULL,
                 findable_changed_at IS NULL, findable_unusable, path FROM images_items ORDER BY findable_row""",
    "descriptions": "SELECT * FROM images_answers ORDER BY id, extractor",
    "described": "SELECT * FROM images_answered ORDER BY id",
}
OF_PASSAGES = {"passages": PASSAGES, "concepts": CONCEPTS}
DATABASES = ("findable.db", "local-engine")
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:")
TIMES_WRITTEN = re.compile(rf"{TIME.pattern}[^,\n]*")
FORGOTTEN = re.compile(r"^forgotten [0-9a-f]{16}$")
LEFT_OVER = (".part", ".staging", ".link-part")


def final_state(data: Path, engine: Path) -> dict[str, Any]:
    """Return everything that must be the same after any number of deaths; `engine` is where the engine keeps itself."""
    tables = Workspace(data).tables()
    return {
        **{name: query(data, sql) for name, sql in QUERIES.items()},
        **{name: query(data, sql) if "passages" in tables else [] for name, sql in OF_PASSAGES.items()},
        **{name: _without_times(data, sql) if "reviews_items" in tables else [] for name, sql in OF_OWN.items()},
        **{name: _without_times(data, sql) if "images_items" in tables else [] for name, sql in OF_IMAGES.items()},
        "creates": creates(data, engine),
        "asked": asked(data),
        "index": index(data),
        "written": {
            path.name: TIMES_WRITTEN.sub("a time", path.read_bytes().decode()) for path in data.glob("out.csv")
        },
        "files": [name for name in names(data) if not name.startswith("index/") or name.startswith("index/vectors/")],
    }


def query(data: Path, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a SELECT on a workspace's database; the ids that forgotten items got are left out of them."""
    return [tuple(_nameless(cell) for cell in row) for row in Workspace(data).query(sql)]


def _nameless(cell: Any) -> Any:
    return FORGOTTEN.sub("forgotten", cell) if isinstance(cell, str) else cell


def _without_times(data: Path, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a SELECT with times blanked."""
    return [tuple("a time" if _is_time(cell) else cell for cell in row) for row in query(data, sql)]


def _is_time(cell: Any) -> bool:
    return isinstance(cell, datetime) or (isinstance(cell, str) and TIME.match(cell) is not None)


def creates(data: Path, engine: Path) -> dict[int, list[Any]]:
    """Return what each create of each batch of this workspace asked for: a list of keys, or of hashes, per create.

    Cancelled and deleted batches are among them. The engine inside a command notes no keys; there, the name of a create
    holds the hash of its file.
    """
    found: dict[int, list[Any]] = defaultdict(list)
    notes = engine / "creates.jsonl"
    ((workspace_id,),) = query(data, "SELECT workspace_id FROM findable_workspace")
    start = f"findable-{workspace_id}-"
    for note in map(json.loads, notes.read_text().splitlines() if notes.exists() else _names_at(engine)):
        if note["name"].startswith(start):
            _, number, sha256, _ = note["name"].removeprefix(start).rsplit("-", 3)
            found[int(number)].append(note.get("keys", sha256))
    return dict(found)


def rows_of_tables(data: Path) -> dict[str, int]:
    """Return how many rows each table has, but those that tell of deaths themselves."""
    told = sorted({*Workspace(data).tables()} - {"findable_events", "findable_leases", "findable_tries"})
    return {name: query(data, f"SELECT count(*) FROM {name}")[0][0] for name in told}  # noqa: S608 - names of tables


def calls_without_mark(data: Path, engine: Path) -> int:
    """Return how many live calls more the engine has counted than this workspace has marked; 0 where it counts none."""
    state = engine / "local-engine.sqlite"
    if not state.exists():
        return 0
    with closing(sqlite3.connect(state)) as connection:
        ((counted,),) = connection.execute(
            "SELECT coalesce(sum(requests), 0) FROM quota_days WHERE model NOT LIKE '%embed%'"
        ).fetchall()
    ((marked,),) = query(data, "SELECT count(*) FROM findable_calls")
    return max(0, int(counted) - int(marked))


def _names_at(engine: Path) -> list[str]:
    state = engine / "local-engine.sqlite"
    if not state.exists():
        return []
    with closing(sqlite3.connect(state)) as connection:
        rows = connection.execute("SELECT display_name FROM batches ORDER BY number").fetchall()
    return [json.dumps({"name": row[0]}) for row in rows]


def asked(data: Path) -> dict[str, list[str]]:
    """Return the keys in each request file, in the order of its lines."""
    return {
        path.name: [json.loads(line)["key"] for line in path.read_bytes().splitlines()]
        for path in sorted((data / "batches").glob("*-requests.jsonl"))
    }


def index(data: Path) -> dict[str, Any]:
    """Return what the indexes in service hold, by content, and how many vectors the cache has bytes for."""
    found = {}
    for folder in index_folders(data):
        current = data / folder / "current"
        if current.exists():
            manifest = json.loads((current / "manifest.json").read_bytes())
            metadata = json.loads((current / "metadata.json").read_bytes())
            told = {name: manifest[name] for name in ("hashes", "count", "words", "floor")}
            judged = {name: (manifest["judged"] or {}).get(name) for name in ("questions", "nDCG@10")}
            found[folder] = {**told, "judged": judged, "metadata": metadata}
    vectors = {path.name: path.stat().st_size for path in sorted((data / "index" / "vectors").glob("*.vectors"))}
    return {**found, "vectors": vectors} if found else {}


def index_folders(data: Path) -> list[str]:
    """Return the folders of the workspace that may have builds: that of people, and one for each task of a user's."""
    return ["index", *sorted(path.relative_to(data).as_posix() for path in (data / "index").glob("tasks/*"))]


def broken_index(data: Path) -> str:
    """Return what is wrong with the indexes as a reader finds them, also between two builds; empty where nothing is.

    Whatever is in service is one build: the bytes its manifest was verified with; to people's the stable names lead.
    """
    return next(filter(None, (_broken(data, folder) for folder in index_folders(data))), "")


def _broken(data: Path, folder: str) -> str:
    current = data / folder / "current"
    if not current.is_symlink():
        return ""
    build = current.resolve()
    if not (build / "manifest.json").is_file():
        return f"current leads to {build.name}, which is no whole build"
    for name, wanted in json.loads((build / "manifest.json").read_bytes())["hashes"].items():
        path = build / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
            return f"{name} of build {build.name} is not what was verified"
    entries = json.loads((build / "metadata.json").read_bytes())
    if len(entries) != json.loads((build / "manifest.json").read_bytes())["count"]:
        return f"build {build.name} has {len(entries)} entries"
    for name in ("faiss.index", "metadata.json") if folder == "index" else ():
        if (data / name).resolve() != build / name:
            return f"{name} does not lead to build {build.name}"
    return ""


def names(data: Path) -> list[str]:
    """Return every file of the workspace but those of the databases and what stands for the build in service.

    Nor of reports: there are more where a process died after one, and fewer where it was before; `qc` makes them again.
    """
    found = sorted(path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file())
    return [name for name in found if not name.startswith((*DATABASES, "index/current", "reports/"))]


def left_over(data: Path) -> list[str]:
    """Return what no command that ended by itself leaves behind, files and folders."""
    return sorted(path.name for path in data.rglob("*") if path.name.endswith(LEFT_OVER))
