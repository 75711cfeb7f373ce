"""`eval` compares the search in service with BM25."""

import json
from collections.abc import Callable

from tests.lab import Workspace


def test_judged_names_outside_the_index_are_counted(
    workspace: Workspace, tagged: Callable[[int], None]
) -> None:
    """A warning counts the names with a grade above 0 that are not in the index."""
    tagged(3)
    workspace.ran("index")
    files = (workspace.data / "queries.jsonl", workspace.data / "qrels.tsv")
    files[0].write_text('{"qid": "q1", "text": "hive 1"}\n')
    files[1].write_text("q1 0 p1 1\nq1 0 p2 0\nq1 0 nobody 1\n")
    error = workspace.ran("eval", *map(str, files)).stderr
    assert "1 of 2 names with a grade above 0 are not in the index" in error


def test_each_judged_question_counts_once(
    workspace: Workspace, tagged: Callable[[int], None]
) -> None:
    """Questions of a type that is called "all" count once in the figures of all questions."""
    tagged(3)
    workspace.ran("index")
    files = (workspace.data / "queries.jsonl", workspace.data / "qrels.tsv")
    types = ("all", "name", "topic")
    queries = [
        {"qid": f"q{number}", "text": f"hive {number}", "type": type_name}
        for number, type_name in enumerate(types)
    ]
    files[0].write_text("".join(f"{json.dumps(query)}\n" for query in queries))
    files[1].write_text("".join(f"q{number} 0 p{number} 1\n" for number in range(3)))

    rows = json.loads(workspace.run("eval", *map(str, files), "--json").stdout)
    counts = {row["type"]: row["queries"] for row in rows}
    assert counts == {"all": 3, "name": 1, "topic": 1}
