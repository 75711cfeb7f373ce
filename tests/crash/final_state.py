"""What a workspace has come to, in a form in which two runs can be compared: no times, no ids the API chose."""

import json
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

from tests.lab import Api, Workspace

PEOPLE = "SELECT * FROM experts ORDER BY id"
ANSWERS = """SELECT item_id, batch, extractor, input_hash, answer, applied, outdated, tokens_in, tokens_out, cost
             FROM findable_answers ORDER BY item_id, id"""
ATTEMPTS = """SELECT item_id, batch, charged, outcome, reason, code, tokens_in, tokens_out
              FROM findable_attempts ORDER BY item_id, id"""
BATCHES = """SELECT number, state, model, requests, request_file, request_sha256, answered, refused, invalid, missing,
             not_applied, unknown, duplicates, unreadable, tokens_in, tokens_out, cost
             FROM findable_batches ORDER BY number"""
CLAIMS = """SELECT task, item_id, batch, line, input_hash, open, outcome, reason
            FROM findable_requests ORDER BY batch, line"""
PARKED = "SELECT task, item_id, reason FROM findable_parked ORDER BY item_id"


def final_state(workspace: Workspace, remote: list[str]) -> dict[str, Any]:
    """Return everything that must be the same after any number of deaths; `remote` are all remote batches' names."""
    queries = {"people": PEOPLE, "answers": ANSWERS, "attempts": ATTEMPTS, "batches": BATCHES, "claims": CLAIMS}
    state: dict[str, Any] = {name: workspace.query(sql) for name, sql in (queries | {"parked": PARKED}).items()}
    return {
        **state,
        "remote": dict(remote_batches(workspace, remote)),
        "asked": asked(workspace.data),
        "index": index(workspace.data),
        "files": sorted(names(workspace.data)),
    }


def remote_names(api: Api) -> list[str]:
    """Return the display name of every batch the emulator ever made, cancelled and deleted ones too."""
    return [one["displayName"] for one in api.batches()["batches"]]


def local_names(workspace: Workspace) -> list[str]:
    """Return the same of the local engine inside a workspace."""
    connection = sqlite3.connect(workspace.data / "local-engine.sqlite")
    found = [row[0] for row in connection.execute("SELECT display_name FROM batches")]
    connection.close()
    return found


def remote_batches(workspace: Workspace, remote: list[str]) -> Counter[int]:
    """Return how many remote batches each batch of this workspace ever had."""
    workspace_id = workspace.scalar("SELECT workspace_id FROM findable_workspace")
    start = f"findable-{workspace_id}-expert-tags-"
    return Counter(int(name.removeprefix(start).split("-")[0]) for name in remote if name.startswith(start))


def asked(data: Path) -> dict[str, list[str]]:
    """Return the keys in each request file, in the order of its lines."""
    return {
        path.name: [json.loads(line)["key"] for line in path.read_bytes().splitlines()]
        for path in sorted((data / "batches").glob("*-requests.jsonl"))
    }


def index(data: Path) -> dict[str, Any]:
    """Return what the index in service holds, by content, and how many vectors the cache has bytes for."""
    current = data / "index" / "current"
    if not current.exists():
        return {}
    manifest = json.loads((current / "manifest.json").read_bytes())
    return {
        "hashes": manifest["hashes"],
        "count": manifest["count"],
        "metadata": json.loads((data / "metadata.json").read_bytes()),
        "vectors": {path.name: path.stat().st_size for path in sorted((data / "index" / "vectors").glob("*.vectors"))},
    }


def names(data: Path) -> list[str]:
    """Return every file of the workspace but those of the databases, and the builds, whose numbers may differ."""
    found = [path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file()]
    own = ("findable.db", "local-engine", "index/builds/", "index/current")
    return [name for name in found if not name.startswith(own)]
