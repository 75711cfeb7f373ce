"""Figures of quality about the lists of texts in the answers of a user's task."""

from string import ascii_letters
from typing import Any

import pytest

from tests.acceptance.product import Workspace, write_declaration
from tests.outside.answers import Json, user_text
from tests.outside.server import Outside

ROWS = 60
TOPICS = ("beekeeping", "violins", "tax law", "glaciers", "chess")


@pytest.fixture(name="boats")
def _boats(workspace: Workspace, outside_server: Outside) -> Workspace:
    """Return a workspace with answered rows; each has a topic, and some have another tag."""
    workspace.url = outside_server.url
    workspace.task = "boats"
    workspace.settings["YES"] = "1"
    outside_server.answerer = tag_row
    lines = [
        f'b{number},"{number}: I have worked for years with the art of {find_topic(number)}."'
        for number in range(ROWS)
    ]
    workspace.write_file("tasks/boats.csv", "\n".join(["id,text", *lines, ""]))
    return workspace


def find_topic(number: int) -> str:
    """Return the topic of a row."""
    return TOPICS[number % len(TOPICS)]


def tag_row(request: Json) -> Json:
    """Return the topic of the row, and for some rows a tag that only this row has."""
    text = user_text(request).split("<text>", 1)[-1]
    number = int(text.split(":", 1)[0])
    further_tags = [f"quantum {ascii_letters[number]}"] if number % 3 == 0 and number < 48 else []
    # One row has no tag.
    tags = [find_topic(number), *further_tags] if number else []
    return {"tags": tags, "uses": ["sailing"]}


def declare(workspace: Workspace, *arguments: str, fields: str = "tags") -> None:
    """Write the file of the task."""
    text = write_declaration(
        dict.fromkeys(fields.split(), "list[str]"),
        prompt="{text}",
        items="boats.csv",
        extra_arguments=["words=('boat', 'boats', 'answered', 'empty')", *arguments],
    )
    workspace.write_file("tasks/boats.py", text)


def read_figures_with_usage(report: Any) -> dict[str, Any]:
    """Return the value and the number of cases of each figure of a report."""
    return {name: (figure["value"], figure["cases"]) for name, figure in report["figures"].items()}


def test_lists_of_texts_are_measured(boats: Workspace) -> None:
    """The report has their lengths, and rare, common, long and unsupported values."""
    declare(boats)
    boats.run_command("tag_live")
    report = boats.read_json("qc")
    figures = read_figures_with_usage(report)
    assert figures["tags"] == (pytest.approx((59 + 15) / 59), 59)
    assert figures["used-once"] == (pytest.approx(15 / 20), 59)
    assert figures["at-minimum"] == (pytest.approx(44 / 59), 59)
    assert figures["commonest"] == (1, 59)
    assert figures["longest-tag"] == (len("beekeeping"), 59)
    assert figures["boats"] == (59, 59)
    assert figures["different-tags"] == (20, 59)
    unlike_share, text_count = figures["unlike-text"]
    assert text_count == 59
    assert 0 < unlike_share <= 15 / 74
    assert not {"tags", "used-once"} & {gate["name"] for gate in report["gates"]}

    tables = {table["title"]: table["cells"] for table in report["tables"]}
    assert tables["Tags per boat"][:3] == [["1", 44], ["2", 15], ["3", 0]]
    assert tables["Most used tags"][0] == ["chess", 12]
    assert all("quantum" in tag for tag, _ in tables["Unsupported tags"])
    assert not {"tags", "tags-count"} & tables.keys()


def test_a_setting_makes_a_gate_of_a_figure(boats: Workspace) -> None:
    """Bounds of the task's file or of GATES are judged, if enough was measured."""
    declare(boats, "gates={'tags': '1..1.2', 'used-once': 0.5, 'longest-tag': 60}")
    boats.run_command("tag_live")
    report = boats.read_json("qc", code=6)
    verdicts = {gate["name"]: gate["passed"] for gate in report["gates"]}
    assert (verdicts["tags"], verdicts["longest-tag"]) == (False, True)
    assert verdicts["used-once"] is None
    assert boats.read_json("qc", GATES="tags=1..2")["passed"]
    assert "there is no gate 'tag'" in boats.run_command("qc", GATES="tag=1", code=3).stderr


def test_figures_of_several_lists_have_the_names_of_their_fields(boats: Workspace) -> None:
    """A figure that is named like another one keeps the other."""
    declare(boats, fields="tags uses")
    boats.run_command("tag_live")
    figures = read_figures_with_usage(boats.read_json("qc"))
    assert figures["uses"] == (1, 60)
    assert figures["commonest-uses"] == (1, 60)
    assert figures["at-minimum-tags"] == (pytest.approx(44 / 59), 59)
