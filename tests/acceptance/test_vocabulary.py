"""Test vocabularies: terms and aliases in replies, changed files, and tags of people."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.acceptance.product import Workspace
from tests.outside.answers import Answerer, Json, user_text
from tests.outside.server import Outside

HEADER = "term,description,aliases"
DELIVERY = "Delivery,parcels and couriers,Shipping|post"
BILLING = 'Billing,"invoices, payments and refunds",invoice;payment'
PRIVACY = "Privacy,what is stored about a person,"
TASK_FILE = '''"""Ask about the topics of letters."""

from typing import Annotated

from pydantic import BaseModel, Field

from askrows import Task, Vocabulary

Topic = Annotated[str, Vocabulary("topics.csv")]


class Answer(BaseModel):
    topic: Topic = Field(description="The main subject")
    others: list[Topic]


# Topics: {topics}.
task = Task(answer=Answer, items="letters.csv", prompt="{{text}}")
'''


@pytest.fixture(name="letters")
def _letters(workspace: Workspace) -> Workspace:
    """Return a workspace whose commands use the task `letters`."""
    workspace.task = "letters"
    workspace.settings["YES"] = "1"
    return workspace


def write_topics(letters: Workspace, *lines: str) -> None:
    """Write the vocabulary, and the task's file so that each command reads it again."""
    letters.write_file("tasks/topics.csv", "\n".join([HEADER, *lines, ""]))
    letters.write_file("tasks/letters.py", TASK_FILE.format(topics=len("".join(lines))))


def write_letters(letters: Workspace, *texts: str) -> None:
    """Write the rows of the task, with keys that count from 1."""
    lines = [f"{number},{text}" for number, text in enumerate(texts, 1)]
    letters.write_file("tasks/letters.csv", "\n".join(["id,text", *lines, ""]))


def answer_with_first_word(request: Json) -> Json:
    """Return an answer whose topics are the first word of the letter."""
    word = user_text(request).partition(">")[2].split()[0].strip(":")
    return {"topic": word, "others": [word]}


def read_topics(letters: Workspace) -> list[Any]:
    """Return the topic of each exported row."""
    return [row["topic"] for row in letters.exported_rows()]


def use_server(letters: Workspace, server: Outside, answerer: Answerer) -> None:
    """Let a server answer the commands of a workspace."""
    letters.url = server.url
    letters.settings["CONCURRENCY"] = "1"
    letters.settings["CALL_TIMEOUT"] = "60"
    server.answerer = answerer


@pytest.mark.alike
def test_aliases_are_stored_as_their_term_and_other_terms_are_invalid(
    letters: Workspace, outside_server: Outside
) -> None:
    """A term in another case and an alias become the term; the reason names the nearest term."""
    use_server(letters, outside_server, answer_with_first_word)
    write_topics(letters, DELIVERY, BILLING)
    write_letters(letters, "POST: it is late", "invoice: twice", "billling: twice", "Delivery: ok")
    letters.run_command("tag_live")

    assert read_topics(letters) == ["Delivery", "Billing", None, "Delivery"]
    assert letters.exported_rows()[1]["others"] == ["Billing"]
    (reason,) = letters.parked_reasons().values()
    assert "'billling' is not a term of topics.csv; the nearest is 'Billing'" in reason

    request = json.dumps(letters.sealed_requests(1)[0]["request"])
    assert "Billing: invoices, payments and refunds; also: invoice, payment" in request


@pytest.mark.parametrize(
    "lines",
    [
        [DELIVERY],
        [DELIVERY, BILLING, PRIVACY],
        [DELIVERY, "Billing,money,"],
        ["Transport,parcels and couriers,Delivery", BILLING],
        # The term Billing means something else, and its former meaning has another name.
        ["Billing,parcels and couriers,Delivery", 'Money,"invoices, payments and refunds",'],
    ],
)
def test_changed_terms_or_descriptions_need_a_new_version(
    letters: Workspace, outside_server: Outside, lines: Sequence[str]
) -> None:
    """A removed, added or renamed term and another description stop `tag`, as another prompt."""
    use_server(letters, outside_server, answer_with_first_word)
    write_topics(letters, DELIVERY, BILLING)
    write_letters(letters, "Delivery: late", "Billing: twice")
    letters.run_command("tag_live")

    write_topics(letters, *lines)
    ended = letters.run_command("tag_live", code=3)
    message = "the vocabulary changed since version 1 was used; nothing was asked"
    assert message in ended.stderr
    assert read_topics(letters) == ["Delivery", "Billing"]

    letters.run_command("tag_live", ACCEPT_CHANGED=1)
    assert read_topics(letters) == ["Delivery", "Billing"]
    assert sum(outside_server.kept.questions().values()) == 2


@pytest.mark.alike
def test_order_and_aliases_of_terms_are_no_other_question(letters: Workspace) -> None:
    """A sorted file with other aliases continues under the same version without a word."""
    write_topics(letters, DELIVERY, BILLING)
    write_letters(letters, "Delivery: late")
    letters.run_command("tag_live")

    write_topics(letters, BILLING, "Delivery,parcels and couriers,freight")
    assert "vocabulary" not in letters.run_command("tag_live").stderr


def test_people_get_only_tags_of_the_list(workspace: Workspace, outside_server: Outside) -> None:
    """TAGS_FROM limits the tags of models and of people, in batches and for an added person."""
    workspace.url = outside_server.url
    workspace.settings |= {"YES": "1", "TAGS_FROM": "tags.csv"}
    workspace.write_file("tags.csv", "term,aliases\nWater Law,hydro law\nBeekeeping,\n")
    outside_server.answerer = lambda _request: {"tags": ["HYDRO law", "water law"]}
    ada, bob = workspace.import_people(2)
    workspace.run_commands("submit", "poll", "ingest")
    assert workspace.exported_tags() == {ada: ["water law"], bob: ["water law"]}

    outside_server.answerer = lambda _request: {"tags": ["beekeeping"]}
    workspace.write_file("zoe.json", json.dumps({"username": "zoe", "bio": "Keeps bees."}))
    workspace.run_command("add", "zoe.json")
    assert workspace.exported_tags()["zoe"] == ["beekeeping"]

    workspace.run_command("correct", "zoe", set='tags=["sailing"]', code=2)
    workspace.run_command("correct", "zoe", set='tags=["beekeeping", "hydro law"]')
    assert workspace.exported_tags()["zoe"] == ["beekeeping", "water law"]

    workspace.import_people(1, first=5)
    outside_server.answerer = lambda _request: {"tags": ["sailing"]}
    workspace.run_command("tag_live")
    assert "not a term of tags.csv" in next(iter(workspace.parked_reasons().values()))
