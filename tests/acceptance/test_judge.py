"""A decision model judges stored answers: each once, within budgets, with intervals and gates."""

import json
import shlex
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.process import Running
from tests.acceptance.product import HEADER, PASSAGES, PEOPLE, Workspace, write_declaration
from tests.acceptance.steps import Fate
from tests.acceptance.test_row_states import cells_of
from tests.outside.answers import Json
from tests.outside.server import Outside

GATE_FAILED = 6
LONGEST_S = 60.0
LETTER_COUNT = 12
ROW_COUNT = 60
MIN_CALIBRATED_ANSWERS = 50
# Corrected letters whose tone was wrong.
WRONG_COUNT = 10
# One call at a time, so at most one call is running at a kill.
ONE_BY_ONE: dict[str, Any] = {"CONCURRENCY": 1}
FIELDS = {"tone": 'Literal["praise", "blame"]', "topic": "str", "words": "list[str]"}


def declare_letters(workspace: Workspace, row_count: int = LETTER_COUNT) -> None:
    """Make a task about letters, whose rows a generating model has answered."""
    workspace.task = "letters"
    lines = [f"{number},The kettle number {number} broke." for number in range(1, row_count + 1)]
    workspace.write_file("tasks/letters.csv", "\n".join(["id,letter", *lines]) + "\n")
    declaration = write_declaration(FIELDS, prompt="{letter}", items="letters.csv")
    workspace.write_file("tasks/letters.py", declaration)
    workspace.run_command("tag", mode="live", yes=True)


@pytest.fixture(name="letters")
def _letters(served_workspace: Workspace) -> Workspace:
    """Return a workspace with answered letters on the outside server."""
    declare_letters(served_workspace)
    return served_workspace


def with_probability(probability: float, field_name: str = "") -> Any:
    """Return a function that sets the probability of a field in a reply, or of all fields."""

    def change(reply: Json) -> Json:
        answers = {
            question_id: {**answer, "noul": probability}
            if question_id.partition("[")[0] == field_name or not field_name
            else answer
            for question_id, answer in reply["answers"].items()
        }
        return {**reply, "answers": answers}

    return change


def asked_texts(server: Outside) -> Counter[str]:
    """Return how often each text was sent with equal questions."""
    return Counter(
        json.dumps([decision["input"], decision["questions"]]) for decision in server.decisions
    )


@pytest.mark.same_sql
def test_each_answer_is_judged_once_and_a_larger_sample_contains_the_smaller(
    letters: Workspace, outside_server: Outside
) -> None:
    """Sample of 5, the same sample again, a sample of 8, all rows, then all rows again."""
    outside_server.decision_replies = with_probability(0.9)
    calls = []
    for options in ({"n": 5}, {"n": 5}, {"n": 8}, {"all": True}, {"all": True}):
        report = letters.read_json("judge", **options)
        calls.append((report["judged"], report["selected"], len(outside_server.decisions)))
    assert calls == [(5, 5, 5), (0, 5, 5), (3, 8, 8), (4, 12, 12), (0, 12, 12)]
    assert set(asked_texts(outside_server).values()) == {1}

    shares = {share["field"]: share for share in report["supported"]}
    assert set(shares) == {None, *FIELDS}
    assert shares["tone"]["supported"] == shares["tone"]["judged"] == LETTER_COUNT
    assert 0.7 < shares["tone"]["low"] < shares["tone"]["high"] == 1
    assert letters.status()["letters"]["answered"] == LETTER_COUNT
    assert report["doubtful"] == 0
    rows = letters.exported_rows()
    assert {row["tone_confidence"] for row in rows} == {0.9}
    assert {row["words_confidence"] for row in rows} == {0.9}


@pytest.mark.same_sql
def test_question_has_text_field_and_value_and_no_boundaries_can_be_forged(
    letters: Workspace, outside_server: Outside
) -> None:
    """A list has a question for each member; the input is the row's prompt."""
    letters.run_command("judge", n=1, fields="tone,words")
    (decision,) = outside_server.decisions
    assert decision["input"].startswith("<letter>The kettle number ")
    names = {question_id.partition("[")[0] for question_id in decision["questions"]}
    assert names == {"tone", "words"}
    tone_question = decision["questions"]["tone"]
    assert tone_question["type"] == "noul"
    assert "Field: tone\n<value>" in tone_question["instructions"]


@pytest.mark.same_sql
def test_seed_draws_another_sample_and_dry_asks_nothing(
    letters: Workspace, outside_server: Outside
) -> None:
    """The estimate has rows, values and cost, and needs no key."""
    estimate = letters.read_json("judge", n=5, dry=True, GEMINI_API_KEY="")
    assert (estimate["open"], estimate["judged"]) == (5, 0)
    assert estimate["questions"] > 5
    assert 0 < estimate["estimated_cost"] < 0.01
    dry_run = letters.run_command("judge", n=5, seed=1, fields="tone", dry=True)
    next_command = "findable judge --task letters --fields tone -n 5 --seed 1"
    assert dry_run.stderr.endswith(f"next: {next_command}\n")
    assert not outside_server.decisions

    letters.run_command("judge", n=5, seed=1)
    letters.run_command("judge", n=5, seed=2)
    assert len(outside_server.decisions) > 5


@pytest.mark.same_sql
def test_second_judge_says_how_many_rows_were_judged_before(letters: Workspace) -> None:
    """Estimate and report count the rows of the sample that need no call."""
    letters.run_command("judge", n=3)
    sentence = "3 of the 5 rows were judged before"
    estimate = letters.run_command("judge", n=5, dry=True).stdout
    assert "2 rows" in estimate
    assert sentence in estimate
    assert sentence in letters.run_command("judge", n=5).stdout
    assert "were judged before" not in letters.run_command("judge", n=5).stdout


def test_hint_of_a_second_judge_has_the_options_that_select(
    letters: Workspace, outside_server: Outside
) -> None:
    """The hint judges a larger sample of the same seed, and only the same fields."""
    options: dict[str, Any] = {"fields": "topic", "n": 5, "seed": 3}
    letters.run_command("judge", **options)
    hint = "`findable judge --task letters --fields topic -n 10 --seed 3` judges more"
    assert hint in letters.run_command("judge", **options).stdout
    assert hint in letters.run_command("judge", **options, dry=True).stdout
    assert len(outside_server.decisions) == 5


@pytest.mark.same_sql
def test_wrong_options_are_refused_with_the_fields(letters: Workspace) -> None:
    """Nothing is asked for an unknown field, or with both a sample and all rows."""
    process = letters.run_command("judge", fields="tonne", code=2)
    assert "has no field 'tonne'" in process.stderr
    assert "tone, topic, words" in process.stderr
    assert "exclude" in letters.run_command("judge", all=True, n=3, code=2).stderr


@pytest.mark.parametrize("side", ["before", "after"])
def test_killed_judge_continues_with_the_same_sample(
    tmp_path: Path, outside_server: Outside, side: str
) -> None:
    """At any step at most the running call is made twice, and all of the sample is judged."""
    undisturbed = Workspace(tmp_path / "undisturbed", outside_server.url)
    declare_letters(undisturbed, row_count=8)
    command: dict[str, Any] = {"n": 4, "budget": 1, **ONE_BY_ONE}
    trail = undisturbed.start_command("judge", fate=Fate(), **command).wait().trail
    expected_texts = set(asked_texts(outside_server))
    assert len(expected_texts) == 4

    step_numbers = range(1, len(trail) + 1, max(1, len(trail) // 8))
    for step_number in step_numbers:
        workspace = Workspace(tmp_path / f"{side}-{step_number}", outside_server.url)
        declare_letters(workspace, row_count=8)
        outside_server.decisions.clear()
        fate = Fate(step=step_number, side=side)
        killed = workspace.start_command("judge", fate=fate, **command).wait()
        # Slow replies are stored in more steps, so a quicker run may end before the last steps.
        assert killed.code == -signal.SIGKILL or len(killed.trail) < step_number

        report = workspace.read_json("judge", n=4, **ONE_BY_ONE)
        text_counts = asked_texts(outside_server)
        assert set(text_counts) == expected_texts, (step_number, trail[step_number - 1])
        assert text_counts.total() <= 5, (step_number, trail[step_number - 1])
        assert {share["judged"] for share in report["supported"]} == {4}
        assert not list((workspace.data / "batches").glob("*-results.asked"))
        assert workspace.run_command("doctor").code == 0
        # A decision that was asked twice is counted, because its first call may be paid for.
        spent = workspace.spending()
        assert spent["estimated"] == spent["lost"]
        lost_calls = workspace.read_json("costs", by="batch")["total"]["lost_calls"]
        assert text_counts.total() - 4 <= lost_calls <= 1, (step_number, trail[step_number - 1])


def test_status_names_a_killed_run_and_the_command_that_continues_it(
    letters: Workspace, outside_server: Outside
) -> None:
    """The command has the options of the run, so it judges the same rows of the sample."""
    options: dict[str, Any] = {"n": 6, "seed": 3, "fields": "tone,topic"}
    assert "judge" not in letters.status()
    with letters.start_command("judge", **options, **ONE_BY_ONE) as running:
        wait_for_decisions(outside_server, running, 2)
        status = letters.status()["judge"]
        assert status["state"] == "under way"
        running.signal(signal.SIGKILL)
        running.wait()

    status = letters.status()["judge"]
    assert status["state"] == "killed"
    words = shlex.split(status["next"])
    assert words[1:] == [
        *("judge", "--task", "letters", "--fields", "tone,topic"),
        *("-n", "6", "--seed", "3"),
    ]
    text = f"stopped before its end: `{status['next']}` continues it"
    assert text in letters.run_command("status").stdout
    report = letters.read_json("judge", **options)
    assert {share["judged"] for share in report["supported"]} == {6}
    assert set(asked_texts(outside_server).values()) <= {1, 2}
    assert len(outside_server.decisions) <= 7
    assert "judge" not in letters.status()


def test_other_options_say_that_a_killed_run_is_replaced(
    letters: Workspace, outside_server: Outside
) -> None:
    """A smaller sample names the killed run over all rows, which ends only if rows are asked."""
    letters.run_command("judge", n=3)
    with letters.start_command("judge", all=True, **ONE_BY_ONE) as running:
        wait_for_decisions(outside_server, running, 5)
        running.signal(signal.SIGKILL)
        running.wait()
    command = letters.status()["judge"]["next"]

    # The rows of this sample were judged before, so nothing is asked.
    stderr = letters.run_command("judge", n=3).stderr
    assert f"a run was stopped before its end: `{command}` continues it" in stderr
    assert letters.status()["judge"]["state"] == "killed"

    stderr = letters.run_command("judge", n=9).stderr
    assert "a run that was stopped before its end is replaced by" in stderr
    assert f"`{command}` judges its other rows" in stderr
    assert "judge" not in letters.status()
    stderr = letters.run_command("judge", all=True).stderr
    assert "stopped before its end" not in stderr


def test_a_stopped_run_without_rows_left_is_ended_by_other_options(
    letters: Workspace, outside_server: Outside
) -> None:
    """A smaller sample does not name the run, whose last row was forgotten."""
    letters.run_command("judge", n=LETTER_COUNT - 1)
    judged_texts = " ".join(decision["input"] for decision in outside_server.decisions)
    (open_number,) = (
        number
        for number in range(1, LETTER_COUNT + 1)
        if f"number {number} broke" not in judged_texts
    )
    outside_server.troubles.decision_faults = ["503"] * 99
    letters.run_command("judge", all=True, code="any", RETRY_FOR=1)
    outside_server.troubles.decision_faults = []
    assert letters.status()["judge"]["state"] == "killed"

    letters.run_command("forget", item=str(open_number), yes=True)
    judge_run = letters.run_command("judge", n=3)
    assert "nothing to judge" in judge_run.stdout
    assert "stopped before its end" not in judge_run.stderr
    assert "judge" not in letters.status()


@pytest.mark.same_sql
def test_judge_writes_the_quality_report(letters: Workspace) -> None:
    """The page shows the shares without `qc`; a command that judges nothing writes no report."""
    reports = letters.data / "reports"
    letters.run_command("judge", n=4)
    newest_path = max(reports.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    document = json.loads(newest_path.read_text(encoding="utf-8"))
    assert {share["judged"] for share in document["supported"]} == {4}
    report_count = len(list(reports.iterdir()))
    letters.run_command("judge", n=4)
    assert len(list(reports.iterdir())) == report_count

    refused_run = letters.run_command("judge", n=8, code=3, GATES="suported=0.5")
    assert "there is no gate" in refused_run.stderr
    assert letters.read_json("judge", n=8, dry=True)["open"] == 4


def test_interrupted_judge_keeps_its_budget_and_its_replies(
    letters: Workspace, outside_server: Outside
) -> None:
    """Ctrl-C ends with 130; the same command continues, and names the budget that it uses."""
    command: dict[str, Any] = {"all": True, "budget": 0.5, **ONE_BY_ONE}
    with letters.start_command("judge", **command) as running:
        wait_for_decisions(outside_server, running, 3)
        running.signal(signal.SIGINT)
        assert running.wait().code == 130

    report_process = letters.run_command("judge", all=True)
    assert "continuing the run of" in report_process.stderr
    assert "0.5" in report_process.stderr
    assert set(asked_texts(outside_server).values()) == {1}
    assert len(outside_server.decisions) == LETTER_COUNT
    assert "continuing" not in letters.run_command("judge", all=True).stderr


def test_files_of_a_killed_judgement_lose_a_forgotten_row(
    letters: Workspace, outside_server: Outside
) -> None:
    """A judgement claims no row, so `forget` stores its replies and deletes its files."""
    with letters.start_command("judge", all=True, **ONE_BY_ONE) as running:
        wait_for_decisions(outside_server, running, 3)
        running.signal(signal.SIGKILL)
        running.wait()
    assert find_files_with(letters, "number 12 broke", "*-requests.jsonl")

    letters.run_command("forget", item="12", yes=True)
    assert not find_files_with(letters, "number 12 broke", "*")
    report = letters.read_json("judge", all=True)
    assert report["selected"] == LETTER_COUNT - 1
    assert {share["judged"] for share in report["supported"]} == {LETTER_COUNT - 1}


def test_damaged_request_file_of_a_killed_judge_stops_only_its_task(
    letters: Workspace, outside_server: Outside
) -> None:
    """Other tasks go on with a warning; `batch-cancel` ends the batch and counts its cost."""
    with letters.start_command("judge", all=True, **ONE_BY_ONE) as running:
        wait_for_decisions(outside_server, running, 3)
        running.signal(signal.SIGKILL)
        running.wait()
    path = max(find_files_with(letters, "number 12 broke", "*-requests.jsonl"))
    intact_bytes = path.read_bytes()
    path.write_bytes(intact_bytes.replace(b"number 12", b"number 13"))
    number = int(path.name[:6])

    refused = letters.run_unchecked("judge", all=True)
    assert refused.code == 5
    assert str(path) in refused.stderr
    assert f"batch-cancel {number}" in refused.stderr

    letters.task = ""
    letters.import_people(2)
    others = letters.run_command("tag", mode="live", yes=True)
    assert str(path) in others.stderr
    assert letters.state_counts() == {"tagged": 2}
    letters.task = "letters"

    cancelled = letters.run_command("cancel", number, yes=True)
    assert "given up" in cancelled.stdout
    assert not find_files_with(letters, "number 13 broke", "*")
    (batch_row,) = (
        row for row in letters.read_json("costs", by="batch")["rows"] if row["batch"] == "judge"
    )
    assert batch_row["cost"] > 0
    assert letters.run_command("doctor").code == 0
    report = letters.read_json("judge", all=True)
    assert report["judged"] == LETTER_COUNT


def find_files_with(workspace: Workspace, text: str, pattern: str) -> list[Path]:
    """Return the files of batches that contain a text."""
    paths = (workspace.data / "batches").glob(pattern)
    return [path for path in paths if text in path.read_text(encoding="utf-8")]


def wait_for_decisions(server: Outside, running: Running, count: int) -> None:
    """Wait until the server has answered a number of decisions."""
    deadline = time.monotonic() + LONGEST_S
    while len(server.decisions) < count:
        assert time.monotonic() < deadline, running.read_output()
        time.sleep(0.01)


def test_two_processes_judge_each_answer_once(letters: Workspace, outside_server: Outside) -> None:
    """The second process waits, and judges what the first process left."""
    with (
        letters.start_command("judge", all=True, json=True) as first,
        letters.start_command("judge", all=True, json=True) as second,
    ):
        processes = (first.wait(), second.wait())
    assert [process.code for process in processes] == [0, 0]
    assert sum(process.json["judged"] for process in processes) == LETTER_COUNT
    assert set(asked_texts(outside_server).values()) == {1}


@pytest.mark.same_sql
def test_budget_stops_the_run_and_the_next_command_judges_the_rest(
    letters: Workspace, outside_server: Outside
) -> None:
    """A budget is no error; its rest is named, and the cost is part of `spent`."""
    cost_before = letters.spending()["actual"]
    estimate = letters.read_json("judge", all=True, dry=True)["estimated_cost"]
    report = letters.read_json("judge", all=True, budget=estimate / 2)
    assert 0 < report["judged"] < LETTER_COUNT
    assert report["left"] == LETTER_COUNT - report["judged"]
    assert "BUDGET" in report["out_of_money"]
    assert report["cost"] <= estimate / 2
    assert letters.spending()["actual"] == pytest.approx(cost_before + report["cost"], abs=2e-6)

    letters.run_command("judge", all=True, BUDGET_PER_DAY=0.0000001, code=0)
    assert len(outside_server.decisions) == report["judged"]
    letters.run_command("judge", all=True)
    assert set(asked_texts(outside_server).values()) == {1}
    assert len(outside_server.decisions) == LETTER_COUNT

    costs = letters.read_json("costs", by="batch")
    assert [row["batch"] for row in costs["rows"]][-1] == "judge"


@pytest.mark.same_sql
def test_failed_calls_are_told_and_judged_next_time(
    letters: Workspace, outside_server: Outside
) -> None:
    """Failures of the service are repeated; a blocked text and an unknown reply stay open."""
    faults = ["", "503", "429", "drop", "blocked", "unknown", "400"]
    outside_server.troubles.decision_faults = faults
    report = letters.read_json("judge", all=True, **ONE_BY_ONE)
    assert report["judged"] == LETTER_COUNT - 3
    assert sum(report["failed"].values()) == report["left"] == 3
    assert letters.read_json("judge", all=True)["judged"] == 3


@pytest.mark.same_sql
def test_gates_bound_the_supported_share(letters: Workspace, outside_server: Outside) -> None:
    """`qc` exits with 6 below the bound, of all fields or of one, and names the interval."""
    outside_server.decision_replies = with_probability(0.2, "tone")
    letters.settings["GATES"] = "supported=0.9"
    document = letters.read_json("qc")
    gates = {gate["name"]: gate for gate in document["gates"]}
    assert gates["supported"]["passed"] is None

    declare_letters(letters, row_count=30)
    letters.run_command("judge", all=True)
    process = letters.run_command("qc", code=GATE_FAILED)
    assert "supported is 0 %" in process.stderr
    assert "supported, tone: 0 % [0 %, 11.4 %] of 30 judged answers" in process.stdout
    doubtful_rows = letters.read_json("items", where="doubtful = true", limit=100)["items"]
    assert len(doubtful_rows) == letters.status()["doubtful"]["count"] == 30
    assert letters.read_json("judge", dry=True)["doubtful"] == 30
    letters.settings["GATES"] = "supported-tone=0.5,same=off"
    assert "supported-tone" in letters.run_command("qc", code=GATE_FAILED).stderr
    letters.settings["GATES"] = "supported-tone=..0.5,same=off"
    letters.run_command("qc")
    letters.settings["GATES"] = "supported-tonne=0.5"
    assert "there is no gate" in letters.run_command("qc", code=3).stderr


@pytest.mark.same_sql
def test_corrected_and_changed_rows_are_not_judged(
    letters: Workspace, outside_server: Outside
) -> None:
    """A correction is right, and a changed text may support another answer."""
    letters.run_command("correct", "1", set="tone=praise", yes=True)
    path = letters.home / "tasks" / "letters.csv"
    path.write_text(path.read_text().replace("number 2 broke", "number 2 sings"))
    letters.run_command("tag", mode="live", limit=1, yes=True)

    report = letters.read_json("judge", all=True)
    assert (report["judged"], report["selected"]) == (LETTER_COUNT - 2, LETTER_COUNT - 1)
    assert list(report["left_out"].values()) == [1]
    inputs = " ".join(decision["input"] for decision in outside_server.decisions)
    assert "number 1 broke" not in inputs
    assert "number 2 " not in inputs


@pytest.mark.same_sql
def test_calibration_compares_probabilities_with_corrections(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """With too few corrections the line has their number; from 50 on it has the share."""
    workspace = served_workspace
    declare_letters(workspace, row_count=ROW_COUNT)
    outside_server.decision_replies = with_probability(0.75)
    workspace.run_command("judge", all=True, fields="tone")
    assert "tone: 0 answers with a probability" in workspace.run_command("qc", code="any").stdout

    other_tones = {"praise": "blame", "blame": "praise"}
    for row in workspace.exported_rows()[:MIN_CALIBRATED_ANSWERS]:
        correction = f"tone={row['tone']}"
        if int(row["id"]) <= WRONG_COUNT:
            correction = f"tone={other_tones[row['tone']]}"
        workspace.run_command("correct", row["id"], set=correction, yes=True)
    # Nobody looked at the tone of these rows.
    for row in workspace.exported_rows()[MIN_CALIBRATED_ANSWERS : MIN_CALIBRATED_ANSWERS + 5]:
        workspace.run_command("correct", row["id"], set="topic=kettle", yes=True)
    (calibration,) = workspace.read_json("qc", code="any")["calibration"]
    assert calibration["field"] == "tone"
    assert calibration["answers"] == MIN_CALIBRATED_ANSWERS
    assert calibration["probability"] == pytest.approx(0.75)
    assert calibration["right"] == pytest.approx(1 - WRONG_COUNT / MIN_CALIBRATED_ANSWERS)
    assert calibration["low"] < calibration["right"] < calibration["high"]
    line = "tone: said 0.75 on average, right in 0.80 [0.67, 0.89] of 50 corrected or reviewed"
    assert line in workspace.run_command("qc", code="any").stdout


def test_tags_and_concepts_are_judged(served_workspace: Workspace, outside_server: Outside) -> None:
    """Each tag is a question about the biography, and each concept one with its quotations."""
    workspace = served_workspace
    text = "Keeps bees and teaches water law in the old town."
    workspace.write_file("people.csv", f"{HEADER}ada,Ada,Low,,,{text}\n")
    workspace.run_command("import", "people.csv")
    workspace.run_command("tag_live")
    assert "tags_confidence" not in workspace.exported_rows(PEOPLE)[0]
    people_report = workspace.read_json("judge", TASK=PEOPLE)
    assert people_report["judged"] == 1
    assert people_report["supported"][1]["field"] == "tags"
    assert set(outside_server.decisions[-1]["questions"]) >= {"tags[0]"}
    assert text in outside_server.decisions[-1]["input"]

    workspace.write_file("passages.jsonl", json.dumps({"id": "p1", "text": text}) + "\n")
    workspace.run_command("import_passages", "passages.jsonl")
    workspace.run_command("tag", mode="live", yes=True, skip_pilot=True, TASK=PASSAGES)
    report = workspace.read_json("judge", TASK=PASSAGES)
    assert report["judged"] == 1
    question = outside_server.decisions[-1]["questions"]["concepts[0]"]
    assert "<value>name: " in question["instructions"]
    assert "<quotation>" in question["instructions"]
    check_judged_exports(workspace)


def check_judged_exports(workspace: Workspace) -> None:
    """Assert that exports and `show` have the probabilities of judged tags and concepts."""
    (answer,) = workspace.read_json("show", item="ada", TASK=PEOPLE)["answers"]
    probability = answer["confidences"]["tags"]["probability"]
    (person,) = workspace.exported_rows(PEOPLE)
    assert person["tags_confidence"] == probability
    workspace.run_command("export", "judged.csv", TASK=PEOPLE)
    header, cells = cells_of(workspace.home / "judged.csv")
    assert cells[header.index("tags_confidence")] == str(probability)

    (answer,) = workspace.read_json("show", item="p1", TASK=PASSAGES)["answers"]
    probability = answer["confidences"]["concepts"]["probability"]
    concepts = workspace.exported_rows(PASSAGES)
    assert {concept["concepts_confidence"] for concept in concepts} == {probability}
    workspace.run_command("export", "concepts.csv", TASK=PASSAGES)
    header, *rows = cells_of(workspace.home / "concepts.csv")
    assert {row[header.index("concepts_confidence")] for row in rows} == {str(probability)}

    # A correction says what a person says, and the import of an export reads no probability.
    workspace.run_command("correct", item="ada", set="tags=bees", TASK=PEOPLE)
    assert workspace.exported_rows(PEOPLE)[0]["tags_confidence"] is None
    workspace.run_command("import", "judged.csv", TASK=PEOPLE)
    columns = list(workspace.exported_rows(PEOPLE)[0])
    assert [name for name in columns if "confidence" in name] == ["tags_confidence"]


@pytest.mark.same_sql
def test_placeholder_judgements_are_told(workspace: Workspace) -> None:
    """The local engine judges without understanding, and the command says so."""
    workspace.url = ""
    declare_letters(workspace, row_count=3)
    process = workspace.run_command("judge")
    assert "placeholder answers" in process.stderr
    assert workspace.read_json("judge", n=2)["placeholder"] is True
