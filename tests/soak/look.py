"""One look at a workspace and its API from outside, while no command runs: what the invariants are held against."""

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Row = dict[str, Any]
TABLES = ("batches", "batch_accounts", "tries", "twins", "requests", "attempts", "parked", "answers", "calls", "events")
NAMES = {"experts": "experts", **{name: f"findable_{name}" for name in TABLES}}


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
        """Return the batches by number, each with its account."""
        accounts = {row["batch"]: row for row in self.rows["batch_accounts"]}
        return {row["number"]: row | accounts.get(row["number"], {"cost": None}) for row in self.rows["batches"]}

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
        """Return whether a person was begun to be forgotten, and the command died over it."""
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


def look(data: Path, *, status: dict[str, Any], remote: list[Row], memory: Memory, url: str = "", **more: Any) -> Look:
    """Return what is there now, in the SQLite file or in the PostgreSQL database at `url`."""
    rows, damage = _on_server(url) if url else _in_file(data / "findable.db")
    ours = [one for one in remote if status["workspace_id"] in one["displayName"]]
    return Look(data, status, ours, rows, damage, memory, **more)


def _in_file(path: Path) -> tuple[dict[str, list[Row]], list[str]]:
    """Return every row by table in the order it was written, and what SQLite finds wrong."""
    with closing(sqlite3.connect(path, timeout=60)) as connection:
        connection.row_factory = sqlite3.Row
        every = "SELECT * FROM {} ORDER BY rowid"
        rows = {short: [dict(row) for row in connection.execute(every.format(name))] for short, name in NAMES.items()}
        damage = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        damage += [f"a row of {row[0]} points at nothing" for row in connection.execute("PRAGMA foreign_key_check")]
    return rows, damage


def _on_server(url: str) -> tuple[dict[str, list[Row]], list[str]]:
    """Return every row by table in the order of its key, as SQLite would show it; a server is not asked for damage."""
    import psycopg
    from psycopg.rows import dict_row

    with psycopg.connect(url.replace("+psycopg", ""), row_factory=dict_row) as server:
        every = "SELECT * FROM {} ORDER BY 1"
        return {
            short: [{column: _plain(cell) for column, cell in row.items()} for row in server.execute(query.encode())]
            for short, query in ((short, every.format(name)) for short, name in NAMES.items())
        }, []


def _plain(cell: Any) -> Any:
    """Return a cell as SQLite has it: a time is text in UTC without its zone."""
    return cell.astimezone(UTC).replace(tzinfo=None).isoformat(" ") if isinstance(cell, datetime) else cell


def is_forgotten(row: Row) -> bool:
    """Return whether an item was forgotten: its rows keep the account, and nothing of the person."""
    return "forgotten" in str(row["item_id"])


def tags_of(row: Row) -> list[str]:
    """Return the tags of a person; none where there are none yet."""
    tags: list[str] = json.loads(row["tags"]) if row["tags"] else []
    return tags
