"""All that a user sees of a workspace at rest, in a form in which two can be compared: no times, no ids a server chose.

It is read from documents of commands, exports, the user's own tables and views, sealed files, the index, and what the
server was asked. No table of the product's own is looked at.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import faiss

from tests.acceptance.database import connected, names
from tests.acceptance.engine import Engine
from tests.acceptance.product import MOST, OUTCOMES, Workspace, typed

ACCOUNT = (
    "number",
    "task",
    "state",
    "requests",
    *OUTCOMES,
    "tokens_in",
    "tokens_out",
    "cost",
    "extractor",
    "model",
)
REQUEST = (
    "task",
    "item",
    "batch",
    "line",
    "outcome",
    "reason",
    "extractor",
    "answer",
    "tokens_in",
    "tokens_out",
    "cost",
)
INDEX = ("count", "model", "dim", "behind")
SAID = ("parked", "backend", "next")
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d[^,\"\s]*")
ANONYMOUS = re.compile(r"forgotten [0-9a-f]{16}")
OWN_TABLES = ("findable_", "sqlite_")
NOTHING = "(nothing)"  # in the place of a member that the other one has
WORKING = "_items"  # how a table ends that is neither a user's nor an answer
OURS = re.compile(
    r"findable-[0-9a-f]+-(.+)-(\d+)-[0-9a-f]+-t(\d+)$"
)  # the name of a batch at the server
CALLS = re.compile(r":(generateContent|embedContent|batchEmbedContents)$")


def seen(workspace: Workspace, engine: Engine | None = None) -> dict[str, Any]:
    """Return it, part by part; `creates` and `calls` are what an engine was asked since it started."""
    tasks = sorted(workspace.seen)
    told = iter(
        workspace.outputs(
            typed("batches", json=True), *(words for task in tasks for words in looks(task))
        )
    )
    batches = json.loads(next(told))
    found: dict[str, Any] = {
        "batches": [{name: plain(one[name]) for name in ACCOUNT} for one in batches[::-1]]
    }
    for task in tasks:
        said, log, parked, exported = (next(told) for _ in looks(task))
        found.setdefault("status", {})[task] = status(json.loads(said), task)
        found.setdefault("asked", {})[task] = [
            [plain(one[name]) for name in REQUEST] for one in json.loads(log)[::-1]
        ]
        found.setdefault("parked", {})[task] = {
            one["name"]: one["reason"] for one in json.loads(parked)
        }
        found.setdefault("exports", {})[task] = [
            plain(json.loads(line)) for line in exported.split("\n") if line
        ]
    found |= {
        "tables": tables(workspace),
        "index": index(workspace.data),
        "files": files(workspace.data),
    }
    if engine is not None:
        found |= {"creates": creates(engine), "calls": calls(engine.journal())}
    moved: dict[str, Any] = json.loads(json.dumps(found).replace(str(workspace.home), "~"))
    return moved


def looks(task: str) -> list[list[str]]:
    """Return the commands that tell all of a task: where it stands, what was asked, what is parked, what is there."""
    about = {"task": task}
    return [
        typed("status", json=True, **about),
        typed("log", json=True, n=MOST, **about),
        typed("parked", json=True, **about),
        typed("export", "-", format="jsonl", **about),
    ]


def status(said: dict[str, Any], task: str) -> dict[str, Any]:
    """Return what `status` promises of a task: its rows by state, batches by state, the index, what is next."""
    of_index = said["index"] and {name: said["index"][name] for name in INDEX}
    return {
        "rows": said[task],
        "batches": said["batches"],
        "index": of_index,
        "spent": plain(said["spent"]),
        **{name: said[name] for name in SAID},
    }


def tables(workspace: Workspace) -> dict[str, list[Any]]:
    """Return every row of the user's own tables and of the views of answers, as sorted lists of named cells."""
    found = {}
    with connected(workspace) as connection:
        for name in names(connection):
            if name.startswith(OWN_TABLES) or name.endswith(WORKING):
                continue
            cursor = connection.execute(f'SELECT * FROM "{name}"')  # noqa: S608 - a name that the database gave
            columns = [one[0] for one in cursor.description]
            rows = [dict(zip(columns, map(plain, row), strict=True)) for row in cursor.fetchall()]
            found[name] = sorted(rows, key=lambda row: json.dumps(row, sort_keys=True, default=str))
    return found


def index(data: Path) -> dict[str, Any]:
    """Return what each index in service holds: metadata, and a digest of its vectors to five digits."""
    found = {}
    for folder in (
        "index",
        *sorted(path.relative_to(data).as_posix() for path in (data / "index").glob("tasks/*")),
    ):
        current = data / folder / "current"
        if current.exists():
            held = faiss.read_index(str(current / "faiss.index"))
            vectors = held.reconstruct_n(0, held.ntotal).round(5) + 0.0  # no -0.0
            found[folder] = {
                "metadata": json.loads((current / "metadata.json").read_bytes()),
                "dim": held.d,
                "vectors": hashlib.sha256(vectors.tobytes()).hexdigest(),
            }
    return found


def files(data: Path) -> list[str]:
    """Return every file of the workspace that a user may know of: of batches, and those they asked for."""
    every = (path.relative_to(data).as_posix() for path in data.rglob("*.[cj]s*") if path.is_file())
    return sorted(
        name for name in every if not name.startswith(("index/", "reports/"))
    )  # reports have times as names


def creates(engine: Engine) -> dict[str, list[Any]]:
    """Return the lines of each batch that the server made, by task and number, in the order in which they were made."""
    found: dict[str, list[Any]] = defaultdict(list)
    for create in engine.creates():
        named = OURS.search(create["name"])
        assert named, create["name"]
        found[f"{named[1]} {named[2]}"].append(create["lines"])
    return dict(found)


def calls(journal: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the path and body of each single call of a model that the server answered, sorted."""
    answered = (one for one in journal if CALLS.search(one["path"]) and one["status"] == 200)
    return sorted(f"{one['path']} {json.dumps(one['json'], sort_keys=True)}" for one in answered)


def plain(value: Any) -> Any:
    """Return a value with its times and the names of who was forgotten blanked, and its floats rounded to 9 digits."""
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, datetime):
        return "a time"
    if isinstance(value, str):
        return ANONYMOUS.sub("forgotten", TIME.sub("a time", value))
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def differences(one: Any, other: Any, at: str = "") -> list[str]:
    """Return where two such states differ, a line each: the path of the member, and both values cut short."""
    if isinstance(one, dict) and isinstance(other, dict):
        every = sorted(one.keys() | other.keys(), key=str)
        return [
            difference
            for name in every
            for difference in differences(
                one.get(name, NOTHING),
                other.get(name, NOTHING),
                f"{at}.{name}" if at else str(name),
            )
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            difference
            for number, pair in enumerate(zip(one, other, strict=True))
            for difference in differences(*pair, f"{at}.{number}")
        ]
    return (
        []
        if one == other and type(one) is type(other)
        else [f"{at}: {str(one)[:200]} / {str(other)[:200]}"]
    )
