"""Describe everything that a user sees of an idle workspace, to compare two workspaces.

The description has no times and no ids that a server chose. It comes from documents of commands,
exports, the user's own tables and views, sealed files, the index, and the requests to the server.
It uses no table of the product.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import faiss

from tests.acceptance.database import connect, list_tables
from tests.acceptance.engine import Engine
from tests.acceptance.product import MAX_ROWS, OUTCOMES, Workspace, command_words

BATCH_MEMBERS = (
    "number",
    "task",
    "state",
    "requests",
    *OUTCOMES,
    "tokens_in",
    "tokens_out",
    "cost",
    "version",
    "model",
)
REQUEST_MEMBERS = (
    "task",
    "row",
    "batch",
    "line",
    "outcome",
    "reason",
    "version",
    "answer",
    "tokens_in",
    "tokens_out",
    "cost",
)
INDEX_MEMBERS = ("count", "model", "dim", "behind")
STATUS_MEMBERS = ("parked", "backend", "next")
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d[^,\"\s]*")
ANONYMOUS = re.compile(r"forgotten [0-9a-f]{16}")
PRODUCT_TABLES = ("askrows_", "sqlite_")
# Shown for a member that only the other document has.
MISSING_MEMBER = "(nothing)"
# Suffix of tables that contain neither a user's rows nor answers.
WORKING_TABLE_SUFFIX = "_items"
# Name of a batch at the server.
BATCH_NAME = re.compile(r"askrows-[0-9a-f]+-(.+)-(\d+)-[0-9a-f]+-t(\d+)$")
MODEL_CALL = re.compile(
    r":(generateContent|embedContent|batchEmbedContents)$|/(chat/completions|embeddings)$"
)


def describe_workspace(workspace: Workspace, engine: Engine | None = None) -> dict[str, Any]:
    """Return the description, part by part.

    `creates` and `calls` are the requests to an engine since its start.
    """
    tasks = sorted(workspace.used_tasks)
    commands = [command_words("batches", json=True)]
    for task in tasks:
        commands += build_read_commands(task)
    outputs = iter(workspace.outputs(*commands))

    batches = json.loads(next(outputs))
    description: dict[str, Any] = {
        "batches": [_pick(batch, BATCH_MEMBERS) for batch in batches[::-1]],
    }
    parts = ("status", "asked", "parked", "exports")
    description |= {part: {} for part in parts if tasks}
    for task in tasks:
        status, log, parked, export = (next(outputs) for _ in parts)
        description["status"][task] = select_status(json.loads(status), task)
        description["asked"][task] = [
            list(_pick(request, REQUEST_MEMBERS).values()) for request in json.loads(log)[::-1]
        ]
        description["parked"][task] = {row["name"]: row["reason"] for row in json.loads(parked)}
        description["exports"][task] = [
            normalize(json.loads(line)) for line in export.split("\n") if line
        ]

    description["tables"] = read_tables(workspace)
    description["index"] = read_indexes(workspace.data)
    description["files"] = list_files(workspace.data)
    if engine is not None:
        description["creates"] = group_creates(engine)
        description["calls"] = list_calls(engine.journal())

    # A workspace may be compared with a workspace in another folder.
    text = json.dumps(description).replace(str(workspace.home), "~")
    moved_description: dict[str, Any] = json.loads(text)
    return moved_description


def _pick(document: Mapping[str, Any], members: Sequence[str]) -> dict[str, Any]:
    return {name: normalize(document[name]) for name in members}


def build_read_commands(task: str) -> list[list[str]]:
    """Return the commands that show a task: its status, requests, parked rows, and rows."""
    options = {"task": task}
    return [
        command_words("status", json=True, **options),
        command_words("log", json=True, n=MAX_ROWS, **options),
        command_words("parked", json=True, **options),
        command_words("export", "-", format="jsonl", **options),
    ]


def select_status(document: dict[str, Any], task: str) -> dict[str, Any]:
    """Return the members of the `status` document that must be equal."""
    index_status = document["index"]
    return {
        "rows": document[task],
        "batches": document["batches"],
        "index": index_status and {name: index_status[name] for name in INDEX_MEMBERS},
        "spent": normalize(document["spent"]),
        **{name: document[name] for name in STATUS_MEMBERS},
    }


def read_tables(workspace: Workspace) -> dict[str, list[Any]]:
    """Return every row of the user's own tables and of the answer views.

    The rows of a table are sorted; a row has its cells by name.
    """
    tables = {}
    with connect(workspace) as connection:
        for name in list_tables(connection):
            if name.startswith(PRODUCT_TABLES) or name.endswith(WORKING_TABLE_SUFFIX):
                continue
            query = f'SELECT * FROM "{name}"'  # noqa: S608 - a name that the database gave
            cursor = connection.execute(query)
            columns = [column[0] for column in cursor.description]
            rows = [
                dict(zip(columns, map(normalize, row), strict=True)) for row in cursor.fetchall()
            ]
            tables[name] = sorted(rows, key=_sort_key)
    return tables


def _sort_key(row: Mapping[str, Any]) -> str:
    return json.dumps(row, sort_keys=True, default=str)


def read_indexes(data: Path) -> dict[str, Any]:
    """Return the metadata of each index in service, and a digest of its vectors to five digits."""
    task_folders = sorted(
        path.relative_to(data).as_posix() for path in (data / "index").glob("tasks/*")
    )
    indexes = {}
    for folder in ("index", *task_folders):
        build = data / folder / "current"
        if not build.exists():
            continue
        index = faiss.read_index(str(build / "faiss.index"))
        # The addition changes -0.0 to 0.0.
        vectors = index.reconstruct_n(0, index.ntotal).round(5) + 0.0
        indexes[folder] = {
            "metadata": json.loads((build / "metadata.json").read_bytes()),
            "dim": index.d,
            "vectors": hashlib.sha256(vectors.tobytes()).hexdigest(),
        }
    return indexes


def list_files(data: Path) -> list[str]:
    """Return the workspace's files that a user may know: batch files and requested files."""
    paths = (path.relative_to(data).as_posix() for path in data.rglob("*.[cj]s*") if path.is_file())
    # The names of reports are times.
    return sorted(path for path in paths if not path.startswith(("index/", "reports/")))


def group_creates(engine: Engine) -> dict[str, list[Any]]:
    """Return the lines of each created batch by task and number, in the order of their creation.

    Control requests have their keys only, because their nonces are random.
    """
    creates: dict[str, list[Any]] = defaultdict(list)
    for create in engine.creates():
        name = BATCH_NAME.search(create["name"])
        assert name, create["name"]
        lines = [
            line["key"] if line["key"].startswith("control-") else line for line in create["lines"]
        ]
        creates[f"{name[1]} {name[2]}"].append(lines)
    return dict(creates)


def list_calls(journal: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the path and body of each answered call of a model, sorted."""
    return sorted(
        f"{request['path']} {json.dumps(request['json'], sort_keys=True)}"
        for request in journal
        if MODEL_CALL.search(request["path"]) and request["status"] == 200
    )


def normalize(value: Any) -> Any:
    """Return a value without times and without names of forgotten rows.

    Floats are rounded to 9 digits.
    """
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, datetime):
        return "a time"
    if isinstance(value, str):
        return ANONYMOUS.sub("forgotten", TIME.sub("a time", value))
    if isinstance(value, Mapping):
        return {name: normalize(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [normalize(member) for member in value]
    return value


def list_differences(expected: Any, observed: Any, path: str = "") -> list[str]:
    """Return a line for each difference: the path of the member, and both values cut short."""
    return list(_find_differences(expected, observed, path))


def _find_differences(expected: Any, observed: Any, path: str) -> Iterator[str]:
    prefix = f"{path}." if path else ""
    if isinstance(expected, dict) and isinstance(observed, dict):
        for name in sorted(expected.keys() | observed.keys(), key=str):
            expected_member = expected.get(name, MISSING_MEMBER)
            observed_member = observed.get(name, MISSING_MEMBER)
            yield from _find_differences(expected_member, observed_member, f"{prefix}{name}")
        return

    if isinstance(expected, list) and isinstance(observed, list) and len(expected) == len(observed):
        for index, pair in enumerate(zip(expected, observed, strict=True)):
            yield from _find_differences(*pair, f"{path}.{index}")
        return

    if expected != observed or type(expected) is not type(observed):
        yield f"{path}: {str(expected)[:200]} / {str(observed)[:200]}"
