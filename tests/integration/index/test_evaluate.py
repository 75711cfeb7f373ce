"""`eval` measures the search in service."""

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
