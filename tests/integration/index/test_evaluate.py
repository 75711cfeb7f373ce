"""`eval` compares the search in service with BM25, and gates the promotion of a build."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab import ROOT, Workspace

SAMPLE = ROOT / "data" / "sample"


def index_people(workspace: Workspace, people: Path) -> None:
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


def read_figures(
    workspace: Workspace, folder: Path
) -> dict[tuple[str, str], dict[str, list[float]]]:
    """Return the figures by first word of the system and type of question."""
    files = (str(folder / "queries.jsonl"), str(folder / "qrels.tsv"))
    rows = json.loads(workspace.run("eval", *files, "--json").stdout)
    return {(row["system"].split()[0], row["type"]): row["figures"] for row in rows}


# More judged questions than the gate needs.
QUESTION_COUNT = 60


def judge_hives(workspace: Workspace) -> tuple[Path, Path]:
    """Write the judged questions of the gate, one for each tagged person, and return the files."""
    folder = workspace.data / "judged"
    folder.mkdir()
    files = (folder / "queries.jsonl", folder / "qrels.tsv")
    files[0].write_text(
        "".join(
            f'{{"qid": "q{number:02d}", "text": "hive {number}"}}\n'
            for number in range(QUESTION_COUNT)
        )
    )
    files[1].write_text(
        "".join(f"q{number:02d} 0 p{number} 1\n" for number in range(QUESTION_COUNT))
    )
    return files


def test_the_share_of_words_is_chosen_and_kept(
    workspace: Workspace, tagged: Callable[[int], None]
) -> None:
    """WORDS= sets the share that searches use; later builds keep it until WORDS=default."""
    tagged(QUESTION_COUNT)
    workspace.ran("index")
    default = read_manifest(workspace)["words"]["share"]
    assert read_manifest(workspace)["chosen_share"] is None

    for text in ("2", "-0.1", "nan", "much"):
        error = workspace.ran("index", f"--words={text}", code=2).stderr
        assert f"the share of words is {text!r}, expected a number from 0 to 1" in error
    error = workspace.ran("index", "--words=best", code=2).stderr
    assert "the best share of words needs judged questions" in error
    assert read_manifest(workspace)["number"] == 1

    workspace.ran("index", "--words=0.9")
    assert read_manifest(workspace)["words"]["share"] == 0.9
    workspace.ran("index")
    assert read_manifest(workspace)["words"]["share"] == 0.9

    files = judge_hives(workspace)
    rows = json.loads(workspace.run("eval", *map(str, files), "--json").stdout)
    (share,) = [row["share"] for row in rows if row["share"]]
    assert share["used"] == 0.9
    output = workspace.ran("index", "--words=best").stderr
    message = f"best share of words: {share['best']:.1f} [{share['low']:.1f}, {share['high']:.1f}]"
    assert f"{message} on {QUESTION_COUNT} judged questions" in output
    manifest = read_manifest(workspace)
    assert manifest["words"]["share"] == manifest["chosen_share"] == share["best"]
    workspace.ran("index")
    assert read_manifest(workspace)["words"]["share"] == share["best"]

    workspace.ran("index", "--words=default", "--worse-ok")
    assert read_manifest(workspace)["words"]["share"] == default
    assert read_manifest(workspace)["chosen_share"] is None

    files[1].write_text("q01 0 p1 1\n")
    assert "judges 1 question" in workspace.ran("index", "--words=best", code=2).stderr


def test_a_worse_build_is_not_promoted(workspace: Workspace, tagged: Callable[[int], None]) -> None:
    """`index` exits with 6 and keeps the build in service, unless --worse-ok is set.

    Until `eval` has embedded the judged questions, `index` embeds nothing for them and promotes.
    """
    tagged(QUESTION_COUNT)
    workspace.ran("index")
    files = judge_hives(workspace)

    workspace.change("UPDATE experts SET bio = 'Sings in a choir.', tags = '[\"songs\"]'")
    assert "embeds the judged questions" in workspace.ran("index").stderr

    workspace.ran("index", "--rollback")
    assert "are not in the index" not in workspace.ran("eval", *map(str, files)).stderr

    message = workspace.ran("index", code=6).stderr
    assert f"build 3 was not promoted: on {QUESTION_COUNT} judged questions nDCG@10 is" in message
    assert read_manifest(workspace)["number"] == 1

    workspace.ran("index", "--worse-ok")
    assert read_manifest(workspace)["judged"]["questions"] == QUESTION_COUNT
    assert read_manifest(workspace)["judged"]["before"]["number"] == 1
    assert read_manifest(workspace)["judged"]["difference"]["high"] < 0

    workspace.ran("doctor")

    files[1].write_text("q01 0 p1 1\nq01 0 p2 0\nq01 0 nobody 1\n")
    assert (
        "1 of 2 names with a grade above 0 are not in the index"
        in workspace.ran("eval", *map(str, files)).stderr
    )
    assert "judges 1 question;" in workspace.ran("index").stderr


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


def read_manifest(workspace: Workspace) -> dict[str, Any]:
    """Return the manifest of the build in service."""
    document: dict[str, Any] = json.loads(
        (workspace.data / "index" / "current" / "manifest.json").read_text()
    )
    return document
