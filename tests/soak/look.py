"""One look at a workspace and its API from outside, while no command runs: what the invariants are held against."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

Row = dict[str, Any]
TABLES = ("batches", "tries", "twins", "requests", "attempts", "parked", "answers", "events")


@dataclass(frozen=True)
class Look:
    """All rows of the database by table, `status --json`, and the remote batches that carry this workspace's id.

    `creates` are the names of all creates that were sent, as far as the API saw them; `stops` are the times from when
    to when a process that may have been sending stood still; `doubled` is how often the API made two of one create;
    `by_hand` are those whom another program has tagged.
    """

    data: Path
    status: dict[str, Any]
    remote: list[Row]
    rows: dict[str, list[Row]]
    damage: list[str]
    memory: "Memory"
    is_settled: bool = False
    stops: tuple[tuple[datetime, datetime], ...] = ()
    doubled: int = 0
    creates: tuple[str, ...] = ()
    by_hand: frozenset[str] = frozenset()

    @property
    def batches(self) -> dict[int, Row]:
        """Return the batches by number."""
        return {row["number"]: row for row in self.rows["batches"]}

    @property
    def people(self) -> dict[str, Row]:
        """Return the people by id as text."""
        return {str(row["id"]): row for row in self.rows["experts"]}

    @property
    def cleaned(self) -> set[int]:
        """Return the batches whose files were removed on purpose."""
        return {int(row["name"]) for row in self.rows["events"] if row["kind"] == "clean"}

    @property
    def is_forgetting(self) -> bool:
        """Return whether somebody was begun to be forgotten, and the command died over it."""
        return any(row["kind"] == "forget" and row["new"] == "begun" for row in self.rows["events"])

    @property
    def bios(self) -> dict[str, str]:
        """Return the biographies by username; an empty text where there is none."""
        return {row["username"]: row["bio"] or "" for row in self.rows["experts"]}


@dataclass
class Memory:
    """What earlier looks saw that must never change: tags by username, remote names and results by batch."""

    tags: dict[str, str] = field(default_factory=dict)
    batches: dict[int, Row] = field(default_factory=dict)
    workspace_id: str = ""
    had_index: bool = False


def look(data: Path, *, status: dict[str, Any], remote: list[Row], memory: Memory, **more: Any) -> Look:
    """Return what is there now."""
    with closing(sqlite3.connect(data / "findable.db", timeout=60)) as connection:
        connection.row_factory = sqlite3.Row
        names = {"experts": "experts", **{name: f"findable_{name}" for name in TABLES}}
        rows = {short: [dict(row) for row in _all(connection, name)] for short, name in names.items()}
        damage = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        damage += [f"a row of {row[0]} points at nothing" for row in connection.execute("PRAGMA foreign_key_check")]
    ours = [one for one in remote if status["workspace_id"] in one["displayName"]]
    return Look(data, status, ours, rows, damage, memory, **more)


def _all(connection: sqlite3.Connection, table: str) -> Iterator[sqlite3.Row]:
    """Yield every row of a table in the order it was written."""
    yield from connection.execute(f"SELECT * FROM {table} ORDER BY rowid")  # noqa: S608 - our names


def is_forgotten(row: Row) -> bool:
    """Return whether an item was forgotten: its rows keep the account, and nothing of the person."""
    return "forgotten" in str(row["item_id"])


def tags_of(row: Row) -> list[str]:
    """Return the tags of a person; none where there are none yet."""
    tags: list[str] = json.loads(row["tags"]) if row["tags"] else []
    return tags
