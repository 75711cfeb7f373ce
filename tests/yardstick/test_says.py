"""What stands in a database, a file, a document or on a command line keeps its name; request files keep every byte.

Every name and value of the version before is still there, but for those that are listed here as changed on purpose.
What is new beside them is not looked at.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import postgresql
from tests.lab import DATABASE, ON_POSTGRESQL
from tests.yardstick import collected
from tests.yardstick.collected import digests, requests, variants
from tests.yardstick.opened import HERE, NEXT_DAY, Kept, opened

WANTED: dict[str, Any] = json.loads((HERE / "expected.json").read_text())
REQUESTS = {"people": HERE / "requests-people.jsonl", "passages": HERE / "requests-passages.jsonl"}
PARTS: dict[str, Callable[[Kept], Any]] = {
    "documents": collected.documents,
    "exits": collected.exits,
    "live": collected.live_requests,
    "words": collected.words,
}
SCHEMA = "0004"  # of the version before
ACCOUNT = frozenset(
    {
        *("answered", "refused", "invalid", "missing", "not_applied", "unknown", "duplicates", "unreadable"),
        *("tokens_in", "tokens_out", "cost", "ended_at"),
    }
)
"""The columns of `findable_batches` that may move to a table of their own."""
CHANGED = (
    r"documents/(status|preflight)[^/]*/said/probe(/.*)?",  # null: there are no probes any more
    r"documents/preflight[^/]*/said/recommended was 'live' and is 'batch'",  # sooner, at half the price
    r"documents/doctor/said/checks was 26 and is 28",  # the files of own tasks, and the judgements of the test lab
    r"documents/qc[^/]*/said/verdict",  # there are more gates
    r"documents/qc/said/tables",  # and a table of tags unlike the text
    r"live/:batchEmbedContents lacks 109e2a9a\w+",  # texts with tags of the local engine, which gives other ones now
    r"documents/qc[^/]*/said/figures/[^/]+/told",  # each figure is explained in a line
    r"documents/export concepts.jsonl",  # of one version
    r"commands/restore/yes",  # nothing is overwritten, so nothing is asked
    r"words/\w+ lacks .*\bprobe\b.*",
    rf"tables/\w+/findable_batches/({'|'.join(sorted(ACCOUNT))}) is gone",
)
"""Differences that are meant, as regular expressions."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """The workspace of the version before, a day later; the tests work on copies of it."""
    root = tmp_path_factory.mktemp("before")
    found = opened("gemini", root, age=NEXT_DAY)
    found.workspace().ran("status")  # migrates it, so that no copy has to be
    yield found
    if ON_POSTGRESQL:
        postgresql.drop_below(root)


def _by_name(rows: Any) -> Any:
    """Return rows that all have a name of their own as a mapping, for there may be more of them by now."""
    if not isinstance(rows, list) or not all(isinstance(one, dict) and "name" in one for one in rows):
        return rows
    named = {str(one["name"]): one for one in rows}
    return named if len(named) == len(rows) > 1 else rows


def differences(wanted: Any, found: Any, path: str) -> Iterator[str]:
    """Yield what of a document is not there any more, or not the same; rows that have names are found by these."""
    wanted, found = _by_name(wanted), _by_name(found)
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name, value in wanted.items():
            if name not in found:
                yield f"{path}/{name} is gone"
            else:
                yield from differences(value, found[name], f"{path}/{name}")
    elif isinstance(wanted, list) and isinstance(found, list) and not path.startswith("documents"):
        yield from (f"{path} lacks {one}" for one in wanted if one not in found)
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, pair in enumerate(zip(wanted, found, strict=True)):
            yield from differences(*pair, f"{path}/{number}")
    elif not _is_alike(wanted, found):
        yield f"{path} was {wanted!r} and is {found!r}"


def _is_alike(wanted: Any, found: Any) -> bool:
    """Return whether a value is the one that is wanted, or of the type that is.

    The last of six decimals of a sum follows the order in which the server adds its rows up.
    """
    if isinstance(wanted, float) and isinstance(found, float):
        return found == pytest.approx(wanted, abs=1.5e-6)
    kind = re.fullmatch(r"<(\w+)>", wanted) if isinstance(wanted, str) else None
    if kind is None or wanted == found:
        return bool(wanted == found)
    return type(found).__name__ == kind[1] or {type(found).__name__, kind[1]} == {"int", "float"}


def compare(part: str, found: Any) -> None:
    """Hold what was found against what the version before had."""
    told = differences(WANTED[part], found, part)
    unmeant = [one for one in told if not any(re.fullmatch(f"{known}( (was|is) .*)?", one) for known in CHANGED)]
    assert not unmeant, "\n".join(unmeant)


@pytest.mark.parametrize(
    "part", [pytest.param(one, marks=pytest.mark.full) if one == "words" else one for one in PARTS]
)
def test_what_is_said_written_and_asked_is_the_same(part: str, kept: Kept) -> None:
    """Documents, exports, exit codes, live requests, and the words of a workspace that was brought to the end."""
    compare(part, PARTS[part](kept))


@pytest.mark.sampled(6, sqlite=6)
@pytest.mark.parametrize("name", WANTED["requests"])
def test_request_files_are_the_same_byte_for_byte(name: str, kept: Kept, tmp_path: Path) -> None:
    """The next batches hold the same lines and end at the same places, whatever limits them."""
    written = requests(kept, variants(tmp_path)[name])
    for subject, path in REQUESTS.items():
        if name == f"{subject}, plain":  # first, for these show what differs
            assert b"".join(written[1].values()).decode().splitlines() == path.read_text().splitlines()
    assert digests(written) == WANTED["requests"][name]


def test_tables_columns_and_indexes_keep_their_names(kept: Kept) -> None:
    """After the migration all are there, of the same types; an account's columns may stand in another table."""
    with collected.copied(kept, "tables") as (workspace, _api):
        found, indexes = collected.tables(workspace), collected.indexes(workspace)
        pairs = {(column, kind) for name, columns in found.items() for column, kind in columns.items() if _ours(name)}
    compare("tables", {DATABASE: found} | {name: one for name, one in WANTED["tables"].items() if name != DATABASE})
    moved = {(column, WANTED["tables"][DATABASE]["findable_batches"][column]) for column in ACCOUNT}
    assert moved <= pairs
    assert set(WANTED["indexes"][DATABASE]) <= set(indexes)


def _ours(table: str) -> bool:
    return table.startswith("findable_")


def test_commands_options_and_settings_keep_their_words() -> None:
    """Every command, option, variable and word of `make` is still there."""
    compare("commands", collected.commands())
    compare("targets", collected.targets())
    compare("values", collected.make_values())


@pytest.mark.full
def test_a_probe_is_refused_where_there_are_none(kept: Kept) -> None:
    """`PROBE=1` ends with 2 and names the pilot, in every version after the one that made the fixture."""
    with collected.copied(kept, "probe") as (workspace, _api):
        ended = workspace.run("preflight", PROBE="1")
        if workspace.scalar("SELECT version_num FROM findable_version") != SCHEMA:
            assert ended.exit_code == 2
            assert "PILOT=" in ended.stderr
