"""`eval`: the search in service beside BM25; and the gate of judged questions at promotion."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab import ROOT, Workspace

SAMPLE = ROOT / "data" / "sample"


def chain(workspace: Workspace, people: Path) -> None:
    """Tag and index the people of a file on the local engine."""
    workspace.environ |= {"FINDABLE_BACKEND": "local"}
    for command in (
        ("import", str(people)),
        ("batch-submit",),
        ("batch-poll",),
        ("batch-ingest",),
        ("index",),
    ):
        workspace.ran(*command)


def figures(workspace: Workspace, folder: Path) -> dict[tuple[str, str], dict[str, list[float]]]:
    """Return the figures by system's first word and type of question."""
    files = (str(folder / "queries.jsonl"), str(folder / "qrels.tsv"))
    rows = json.loads(workspace.run("eval", *files, "--json").stdout)
    return {(row["system"].split()[0], row["type"]): row["figures"] for row in rows}


COUNT = 60  # more judged questions than the gate needs


def test_a_build_that_does_worse_is_not_promoted(
    workspace: Workspace, tagged: Callable[[int], None]
) -> None:
    """Exit code 6, and the one in service stays, unless that is wanted; figures stand in the manifest.

    Nothing is paid for it: until `eval` has embedded the questions, it says so and promotes.
    """
    tagged(COUNT)
    workspace.ran("index")
    judged = workspace.data / "judged"
    judged.mkdir()
    files = (judged / "queries.jsonl", judged / "qrels.tsv")
    files[0].write_text(
        "".join(f'{{"qid": "q{number:02d}", "text": "hive {number}"}}\n' for number in range(COUNT))
    )
    files[1].write_text("".join(f"q{number:02d} 0 p{number} 1\n" for number in range(COUNT)))
    workspace.change("UPDATE experts SET bio = 'Sings in a choir.', tags = '[\"songs\"]'")
    assert "embeds the judged questions" in workspace.ran("index").stderr
    workspace.ran("index", "--rollback")
    assert "are not in the index" not in workspace.ran("eval", *map(str, files)).stderr
    refused = workspace.ran("index", code=6).stderr
    assert f"build 3 was not promoted: on {COUNT} judged questions nDCG@10 is" in refused
    assert built(workspace)["number"] == 1
    workspace.ran("index", "--worse-ok")
    assert built(workspace)["judged"]["questions"] == COUNT
    assert built(workspace)["judged"]["before"]["number"] == 1
    assert built(workspace)["judged"]["difference"]["high"] < 0
    workspace.ran("doctor")
    files[1].write_text("q01 0 p1 1\nq01 0 p2 0\nq01 0 nobody 1\n")
    assert (
        "1 of 2 names that are judged an answer are not in the index"
        in workspace.ran("eval", *map(str, files)).stderr
    )
    assert "judges 1 questions" in workspace.ran("index").stderr


def built(workspace: Workspace) -> dict[str, Any]:
    """Return the manifest of the build in service."""
    document: dict[str, Any] = json.loads(
        (workspace.data / "index" / "current" / "manifest.json").read_text()
    )
    return document
