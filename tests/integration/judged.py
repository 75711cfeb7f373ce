"""Questions and judgements in the test lab, and tags merged by hand, for tests of what becomes of them."""

from tests.lab import Workspace


def judge_and_merge(workspace: Workspace) -> None:
    """Let two people be judged for two questions, by a third one, who merges a tag as well; then build the index."""
    folder = workspace.data.parent
    (folder / "queries.jsonl").write_text(
        '{"qid": "q1", "text": "who knows water law"}\n{"qid": "q2", "text": "person-0001 keeps bees"}\n'
    )
    (folder / "qrels.tsv").write_text("q1 0 person-0000 2\nq1 0 person-0001 0\nq2 0 person-0001 1\n")
    files = ("--queries", str(folder / "queries.jsonl"), "--qrels", str(folder / "qrels.tsv"))
    workspace.ran("lab-import", *files, "--judge", "person-0002")
    workspace.ran("tags", "--merge", "beekeeping=apiculture", "--who", "person-0002")
    workspace.ran("index")
    assert workspace.scalar("SELECT count(*) FROM findable_merged_items")
