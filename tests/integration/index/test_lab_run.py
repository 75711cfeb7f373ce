"""`lab-run`, `lab-tune`, `lab-judge`, and the gate at promotion: variants of the search on judged questions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.cli import main
from pipeline.core.ranking import Rank
from pipeline.index.lab import run as lab
from pipeline.index.lab.open_lab import LabWanted, OpenLab
from tests.lab import Api, Workspace

COUNT = 60  # more judged questions than the gate needs


@pytest.fixture
def judged(
    workspace: Workspace, tagged: Callable[[int], None], begun: Callable[..., None], tmp_path: Path
) -> Workspace:
    """Sixty people, each of whom answers one of sixty questions of two types, in an index."""

    def prepare() -> None:
        """Tag, index, and import what is judged."""
        tagged(COUNT)
        questions = [
            {"qid": f"q{at:02d}", "text": f"hive {at}", "type": ("odd" if at % 2 else "even")} for at in range(COUNT)
        ]
        (tmp_path / "q.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in questions))
        (tmp_path / "q.tsv").write_text("".join(f"q{at:02d} 0 p{at} 1\n" for at in range(COUNT)))
        workspace.ran("index")
        workspace.ran("lab-import", "--queries", str(tmp_path / "q.jsonl"), "--qrels", str(tmp_path / "q.tsv"))

    begun(prepare)
    return workspace


def measured(workspace: Workspace, *args: str) -> dict[str, Any]:
    """Return the document of a run."""
    document: dict[str, Any] = json.loads(workspace.ran("lab-run", *args, "--json").stdout)
    return document


def means(document: dict[str, Any], group: int = 0) -> dict[str, float]:
    """Return what each variant reached on a group of questions."""
    return {one["name"]: one["figures"]["nDCG@10"]["mean"] for one in document["groups"][group]["variants"]}


def spoil(workspace: Workspace) -> None:
    """Change every biography so that no question finds its answer."""
    with workspace.open() as ws, ws.store.write() as tx:
        tx.exec_driver_sql("UPDATE experts SET bio = 'Sings in a choir.', tags = '[\"songs\"]'")


@pytest.mark.full
def test_variants_are_measured_with_intervals_and_side_by_side(judged: Workspace, api: Api, tmp_path: Path) -> None:
    """Built-in ones and one of a file, over all questions and by type; the report is there; nothing is asked twice."""
    (tmp_path / "tags.toml").write_text('share = 1.0\n[[groups]]\nfields = ["tags"]\n')
    names = "words,hybrid,bm25,chance,served"
    (judged.data / "index" / "builds" / "2.dead.staging").mkdir()  # of a run that was killed
    found = measured(judged, "--variants", f"{names},{tmp_path / 'tags.toml'}", "--to", str(tmp_path / "report"))
    reached = means(found)
    assert [one["name"] for one in found["groups"]] == ["all", "even", "odd"]
    assert reached["words"] == reached["tags"] == reached["bm25"] == 1
    assert reached["hybrid"] == reached["served"] > reached["chance"]
    beside = {one["name"]: one for one in found["groups"][0]["beside_the_first"]}
    assert beside["chance"]["difference"]["high"] < 0
    assert (beside["tags"]["p"], beside["tags"]["ties"]) == (1, COUNT)
    assert found["groups"][0]["variants"][0]["figures"]["judged@10"]["mean"] <= 1
    report = (tmp_path / "report" / "lab.md").read_text()
    assert "Questions that chance lost: 5 of" in report
    assert {"lab.json", "lab-1.svg", "lab-tags.run"} < {one.name for one in (tmp_path / "report").iterdir()}
    asked = len(api.seen("POST", "mbed"))
    assert means(measured(judged, "--variants", "vectors,hybrid"))["hybrid"] == reached["hybrid"]
    assert len(api.seen("POST", "mbed")) == asked
    assert [one.name for one in (judged.data / "index" / "builds").iterdir()] == ["1"]


def test_a_question_finds_what_it_finds_in_a_search(judged: Workspace) -> None:
    """With its phrases and what it excludes, by every variant that ranks as search does."""
    questions = ('hive "hive 7"', "hive -7 -8", 'hive -"hive 1"')
    with judged.open() as ws, OpenLab(ws) as opened:
        found = {str(rank): opened.system(str(rank))(questions) for rank in Rank}
    for rank, rankings in found.items():
        for question, names in zip(questions, rankings, strict=True):
            hits = json.loads(judged.ran("search", "--json", "-k", "100", "--", question, RANK=rank).stdout)
            assert names == [hit["username"] for hit in hits]
            assert 0 < len(names) < COUNT


BAD = [
    ("nothing", "", "there is no variant 'nothing'"),
    ("v.toml", 'model = "no-such-model"', "no-such-model"),
    ("v.toml", "[[groups]]\nfields = []", "group 1 names no field"),
    ("v.toml", '[[groups]]\nfields = ["nose"]', "there is no field 'nose'"),
    ("v.toml", 'text = "the same for all"', "its text names no field"),
    ("v.toml", "share = 2", "'share' must be from 0 to 1"),
    ("v.toml", "shares = 0.5", "there is no member 'shares'"),
    ("v.json", '{"tags": "no"}', "'tags' has another type"),
    ("v.json", "share = 1", "is not what its name says"),
]


def test_a_variant_that_says_nothing_or_too_much_is_refused(judged: Workspace, tmp_path: Path) -> None:
    """With what is wrong and what there is instead; nothing of it is left behind."""
    for name, text, said in BAD:
        (tmp_path / name).write_text(text)
        result = judged.run("lab-run", "--variants", f"words,{tmp_path / name if '.' in name else name}")
        assert result.exit_code == (3 if "model" in text else 2)
        assert said in result.stderr
    assert [one.name for one in (judged.data / "index" / "builds").iterdir()] == ["1"]


def test_a_run_keeps_the_build_that_it_began_with(judged: Workspace, tmp_path: Path) -> None:
    """Two builds are promoted meanwhile, and its own is removed: it says which one it measured."""
    with judged.open() as ws, OpenLab(ws) as opened:
        assert opened.build.manifest.number == 1
        judged.ran_each("index", "index")
        (tmp_path / "v.toml").write_text("share = 1")
        report = lab.run(opened, LabWanted(("words", str(tmp_path / "v.toml"))))
    assert report.build.number == 1
    assert not (judged.data / "index" / "builds" / "1").exists()
    for variant in ("words", "v"):
        assert report.values[variant]["MRR"].tolist() == [1] * COUNT


def test_a_build_that_does_worse_is_not_promoted(judged: Workspace) -> None:
    """Exit code 6, and the one in service stays, unless that is wanted; figures stand in the manifest."""
    spoil(judged)
    assert "`make lab-run` embeds the judged questions" in judged.ran("index").stderr
    judged.ran("index", "--rollback")
    judged.ran("lab-run")
    refused = judged.ran("index", code=6).stderr
    assert "build 3 was not promoted: on 60 judged questions nDCG@10 is" in refused
    assert json.loads((judged.data / "index" / "current" / "manifest.json").read_text())["number"] == 1
    judged.ran("index", "--worse-ok")
    built = json.loads((judged.data / "index" / "current" / "manifest.json").read_text())
    assert built["judged"]["questions"] == COUNT
    assert built["judged"]["before"]["number"] == 1
    assert built["judged"]["difference"]["high"] < 0
    judged.ran("doctor")


@pytest.mark.full
def test_weights_are_chosen_on_other_questions_than_they_are_judged_by(judged: Workspace, tmp_path: Path) -> None:
    """What was chosen is the file of a variant, which a run takes."""
    found = json.loads(judged.ran("lab-tune", "--to", str(tmp_path / "best.toml"), "--json").stdout)
    assert found["variants"] == ["as it is", "tuned, on held-out folds"]
    assert len(found["folds"]) == 5
    assert means(found)["tuned, on held-out folds"] == 1
    assert means(measured(judged, "--variants", str(tmp_path / "best.toml"))) == {"best": 1}


def test_what_variants_found_is_judged_blind_and_goes_on_where_it_ended(judged: Workspace) -> None:
    """One key each, undone or skipped; no card tells whose it is, and nothing that is judged comes again."""

    def judge(keys: str, *args: str) -> str:
        """Press keys, and return what was printed."""
        words = ["lab-judge", "--variants", "words,chance", "--judge", "eve", *args]
        return CliRunner().invoke(main, words, env=judged.environ, input=keys, catch_exceptions=False).stdout

    shown = judge("2 0 u x s 1 q")
    assert "3 judged or skipped" in shown
    assert not {"words", "chance"} & set(shown.split())
    rows = "SELECT qid, item_id, grade FROM findable_lab_judgements WHERE judge = 'eve' ORDER BY at"
    before = judged.query(rows)
    assert [row[2] for row in before] == [2, 1]
    left = int(shown.split(" left. Next")[0].split()[-1].replace(",", ""))
    assert f"{left - 1:,} left. Next" in judge("0")
    assert judged.query(rows)[:2] == before
    assert f"{left - 1:,} left. Next" in judge("", "--again")
    assert json.loads(judge("", "--json")) == {"judged": 0, "left": left - 1}
