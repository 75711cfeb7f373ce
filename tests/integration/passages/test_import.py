"""Import of passages: block by block, repeatable, texts untouched, everything told."""

from pathlib import Path
from typing import Any

from pipeline.batch.prepare import Preparation, Selection
from pipeline.core.progress import NoProgress
from pipeline.core.states import Way
from pipeline.passages import import_, table
from pipeline.store import asks
from pipeline.store import workspace as stored
from pipeline.tables.findings import FindingKind, ImportOptions
from tests.integration.passages.workspaces import add_concepts, concept, passages_file, rows, workspace

STRANGE = [
    "  two blanks before and after  ",
    "lines\r\nof\rall\nkinds\u2028and\u0085more\t",
    "\ufeffa mark in front, one \ufeff within",
    "e\u0301 is not \u00e9",
    "\u202eright to left\u202c, \u0634\u062c\u0631\u0629, \U0001f41d\u200d\U0001f33b",
    "100 % of $text '; DROP TABLE passages; -- \\",
]


def test_passages_go_in_as_they_are(tmp_path: Path) -> None:
    """Every text is kept to the letter, what else a line says goes into the metadata; the same file changes nothing."""
    lines: list[dict[str, Any]] = [{"id": f"p{number}", "text": text} for number, text in enumerate(STRANGE)]
    lines += [{"id": f"long {number}", "text": f"{number}é" * 50_000} for number in range(6)]
    one = {"id": 7, "text": "Bees.", "source": "hive", "metadata": {"year": 1999, "n": 10**30}, "title": "T", "year": 1}
    path = passages_file(tmp_path / "p.jsonl", *lines, one, {"id": "8", "text": "x", "title": 1})
    with workspace(tmp_path / "data") as ws:
        done = import_.run(ws, path)
        found = rows(ws)
        assert {line["id"]: found[line["id"]][0] for line in lines} == {line["id"]: line["text"] for line in lines}
        assert found["7"] == ("Bees.", "hive", {"title": "T", "year": 1999, "n": 10**30})
        assert found["8"] == ("x", None, {"title": 1})
        assert (done.added, done.rows_in, done.findings) == (len(lines) + 2, len(lines) + 2, [])
        assert done.notes == ["taken into the metadata: title, year"]
        done = import_.run(ws, path)
        assert (done.added, done.updated, done.unchanged) == (0, 0, len(lines) + 2)
        done.check()
        add_concepts(ws, [concept("7")])
        done = import_.run(ws, passages_file(tmp_path / "q.jsonl", {"id": "7", "text": "Bees.", "title": "New"}))
        assert (done.updated, done.unchanged) == (1, 0)
        assert rows(ws) == {**found, "7": ("Bees.", "hive", {"title": "New"})}
        with ws.store.read() as tx:
            assert stored.get_workspace(tx).position == 1  # the passages that are new: the others change no count


def test_another_text_is_taken_where_there_are_no_concepts(tmp_path: Path) -> None:
    """It is, also while the passage is being asked about; a parked one goes again, and what else is known stays.

    A dry import says the same before, and writes nothing.
    """
    with workspace(tmp_path / "data") as ws:
        path = passages_file(
            tmp_path / "p.jsonl", *({"id": one, "text": "old", "source": one, "k": one} for one in "abc")
        )
        import_.run(ws, path)
        wanted = Selection(among=["a"])
        asked: Any = Preparation(ws, wanted, NoProgress(), way=Way.LIVE, is_alone=True).next()
        with ws.store.write() as tx:
            stopped = dict.fromkeys((asks.Ask("a", ""), asks.Ask("b", "")), "failed twice")
            asks.add_ended(tx, table.TASK, "another@1/model", asks.Ends((), stopped, ()), at=ws.now())
        new = passages_file(tmp_path / "q.jsonl", *({"id": one, "text": "new"} for one in "abc"))
        before = rows(ws)
        dry = import_.run(ws, new, ImportOptions(dry=True))
        assert rows(ws) == before
        done = import_.run(ws, new)
        assert dry.document == {**done.document, "dry": True}
        assert (done.updated, done.released, done.rows_in) == (3, 1, 3)
        assert rows(ws) == {one: ("new", one, {"k": one}) for one in "abc"}
        with ws.store.write() as tx:
            assert [row[0] for row in asks.parked_rows(tx, table.TASK)] == ["a"]
            assert asks.release_claims(tx, asked.number) == 1


def test_another_text_is_refused_where_there_are_concepts(tmp_path: Path) -> None:
    """Whatever version they are of: the text stays, the line is listed, the others go in."""
    versions_of = {"a": "passage-concepts@1", "b": "another program's", "c": None}
    with workspace(tmp_path / "data") as ws:
        import_.run(ws, passages_file(tmp_path / "p.jsonl", *({"id": key, "text": "x"} for key in versions_of)))
        add_concepts(ws, [concept(key, version=version) for key, version in versions_of.items()])  # type: ignore[arg-type] # NULL, too
        new = ({"id": key, "text": "x ", "source": "s"} for key in (*versions_of, "new"))
        done = import_.run(ws, passages_file(tmp_path / "q.jsonl", *new))
        same, other = ("x", None, None), ("x ", "s", None)
        assert rows(ws) == {"a": same, "b": same, "c": same, "new": other}
    assert (done.added, done.updated, done.counts[FindingKind.REJECTED]) == (1, 0, 3)
    assert [(told.line, told.column, told.key) for told in done.findings] == [
        (line, "text", key) for line, key in enumerate("abc", start=1)
    ]
