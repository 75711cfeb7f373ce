"""Test vocabularies: terms and aliases in replies, changed files, two levels, and people's tags."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.acceptance.product import Workspace
from tests.outside.answers import Answerer, Json, user_text
from tests.outside.server import Outside

HEADER = "term,description,aliases,parent"
DELIVERY = "Delivery,parcels and couriers,Shipping|post,"
BILLING = 'Billing,"invoices, payments and refunds",invoice;payment,'
PRIVACY = "Privacy,what is stored about a person,,"
TASK_FILE = '''"""Ask about the topics of letters."""

from typing import Annotated

from pydantic import BaseModel, Field

from findable import Task, Vocabulary

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

    (request,) = {json.dumps(line["request"]) for line in letters.sealed_requests(1)[:1]}
    for text in ("Billing: invoices, payments and refunds (also: invoice, payment)", '"enum"'):
        assert text in request
    assert str(letters.home) not in request


@pytest.mark.alike
def test_renamed_terms_change_stored_answers_without_a_call(
    letters: Workspace, outside_server: Outside
) -> None:
    """Answers, corrections and batches that are under way get the new name for no money."""
    use_server(letters, outside_server, answer_with_first_word)
    write_topics(letters, DELIVERY, BILLING)
    write_letters(letters, "Delivery: late", "Billing: twice", "Billing: once")
    letters.run_command("tag_live")
    letters.run_command("correct", "3", set="topic=post")
    write_letters(letters, "Delivery: late", "Billing: twice", "Billing: once", "Delivery: lost")
    letters.run_command("submit")

    write_topics(letters, "Transport,parcels and couriers,Shipping|post|delivery,", BILLING)
    output = letters.run_command("preflight").stderr
    assert "renamed 1 term (Delivery = Transport); 2 stored answers got the new names" in output
    assert read_topics(letters) == ["Transport", "Billing", "Transport", None]
    assert letters.exported_rows()[0]["others"] == ["Transport"]

    letters.run_commands("poll", "ingest")
    assert read_topics(letters) == ["Transport", "Billing", "Transport", "Transport"]
    # A duplicate input gets a copy of the renamed answer.
    question_count = sum(outside_server.kept.questions().values())
    write_letters(letters, *["Delivery: late"] * 2, *["Billing: once"] * 2, "Delivery: late")
    letters.run_command("tag_live")
    assert read_topics(letters)[4] == "Transport"
    assert sum(outside_server.kept.questions().values()) == question_count


@pytest.mark.alike
@pytest.mark.excused("nobody_is_answered_twice")
def test_new_terms_are_offered_to_new_rows_and_with_refresh_to_answered_rows(
    letters: Workspace, outside_server: Outside
) -> None:
    """Answers with fewer terms stay until REFRESH=1, and `tag` counts their rows."""
    use_server(letters, outside_server, answer_with_first_word)
    write_topics(letters, DELIVERY, BILLING)
    write_letters(letters, "Delivery: late", "Billing: twice")
    letters.run_command("tag_live")
    write_letters(letters, "Delivery: late", "Billing: twice", "Delivery: lost")
    letters.run_command("submit")

    write_topics(letters, DELIVERY, PRIVACY, BILLING)
    output = letters.run_command("preflight").stderr
    assert "added 1 term (Privacy)" in output
    assert "2 rows answered before the vocabulary got its newest terms" in output
    # Rows of the former vocabulary that are under way take their answers.
    letters.run_commands("poll", "ingest")
    assert letters.state_counts() == {"answered": 3}

    rows = ("Delivery: late", "Billing: twice", "Delivery: lost", "Privacy: delete it")
    write_letters(letters, *rows)
    output = letters.run_command("tag_live").stderr
    assert "3 rows answered before the vocabulary got its newest terms" in output
    assert read_topics(letters)[3] == "Privacy"

    question_count = sum(outside_server.kept.questions().values())
    outside_server.answerer = lambda _request: {"topic": "Privacy", "others": []}
    letters.run_command("tag_live", REFRESH=1)
    assert sum(outside_server.kept.questions().values()) == question_count + 3
    assert read_topics(letters) == ["Privacy"] * 4

    assert "newest terms" not in letters.run_command("tag_live").stderr
    assert "newest terms" not in letters.run_command("tag_live", REFRESH=1).stderr
    assert sum(outside_server.kept.questions().values()) == question_count + 3


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([DELIVERY], "topics.csv has no term or alias 'Billing' any more"),
        (
            [DELIVERY, "Billing,money,,"],
            "topics.csv has another description or parent of 'Billing'",
        ),
        ([DELIVERY, BILLING, "Dunning,,,Billing"], "topics.csv has 'Billing' as a heading now"),
    ],
)
def test_vocabulary_with_another_meaning_needs_a_new_version(
    letters: Workspace, lines: Sequence[str], message: str
) -> None:
    """A removed term, another description and a new heading stop `tag`, as another prompt does."""
    write_topics(letters, DELIVERY, BILLING)
    write_letters(letters, "Delivery: late")
    letters.run_command("tag_live")

    write_topics(letters, *lines)
    ended = letters.run_command("tag_live", code=3)
    assert f"{message} since version 1 was used; nothing was asked" in ended.stderr
    letters.run_command("tag_live", ACCEPT_CHANGED=1)


@pytest.mark.same_sql
def test_order_and_aliases_of_terms_are_no_other_question(letters: Workspace) -> None:
    """A sorted file with other aliases continues under the same version without a word."""
    write_topics(letters, DELIVERY, BILLING)
    write_letters(letters, "Delivery: late")
    letters.run_command("tag_live")

    write_topics(letters, BILLING, "Delivery,parcels and couriers,freight,")
    assert "vocabulary" not in letters.run_command("tag_live").stderr


@pytest.mark.same_sql
def test_faults_of_the_file_are_named_with_lines(letters: Workspace) -> None:
    """A wrong vocabulary stops before a call, and the message has both files with lines."""
    write_topics(letters, DELIVERY, "post,,,", "Dunning,,,Biling", BILLING)
    write_letters(letters, "Delivery: late")
    output = letters.run_command("tag_live", code=2).stderr
    assert "letters.py, line 9: topics.csv, line 2: the alias 'post' of 'Delivery'" in output
    assert "topics.csv, line 4: the parent 'Biling' is not a term" in output


def test_local_engine_answers_with_terms_of_two_levels(letters: Workspace) -> None:
    """A vocabulary of 400 terms below 20 headings gives each row one of its terms."""
    animals = [
        "heron",
        "otter",
        "badger",
        "lynx",
        "marten",
        "finch",
        "crane",
        "newt",
        "kite",
        "wren",
    ]
    animals += [f"great {animal}" for animal in animals]
    events = [
        "feeding",
        "nesting",
        "injury",
        "rescue",
        "photo",
        "noise",
        "hunting",
        "water",
        "smell",
    ]
    events += ["count"] + [f"second {event}" for event in [*events, "count"]]
    lines = [f"{animal},all about it,," for animal in animals]
    lines += [f"{animal} {event},,," + animal for animal in animals for event in events]
    write_topics(letters, *lines)
    write_letters(letters, "an otter with an injury", "a kite and its nesting")
    letters.run_command("tag_live")
    assert read_topics(letters) == ["otter injury", "kite nesting"]


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

    output = workspace.run_command("tags", expert="zoe", add="sailing", code=2).stderr
    assert "must be 'Water Law' or 'Beekeeping', not 'sailing'" in output
    workspace.run_command("tags", expert="zoe", add="hydro law")
    assert workspace.exported_tags()["zoe"] == ["beekeeping", "water law"]

    workspace.import_people(1, first=5)
    outside_server.answerer = lambda _request: {"tags": ["sailing"]}
    workspace.run_command("tag_live")
    assert "not a term of tags.csv" in next(iter(workspace.parked_reasons().values()))


@pytest.mark.alike
def test_term_that_is_renamed_during_a_call_is_stored_under_its_new_name(
    letters: Workspace, outside_server: Outside
) -> None:
    """A run with the former names stores nothing, and the next one stores its paid replies."""

    def rename_and_answer(request: Json) -> Json:
        """Rename and add terms in another process before the first reply arrives."""
        if not renamed_files:
            write_topics(letters, "Transport,parcels and couriers,Delivery,", BILLING, PRIVACY)
            renamed_files.append(letters.run_command("preflight").stderr)
        return answer_with_first_word(request)

    renamed_files = list[str]()
    use_server(letters, outside_server, rename_and_answer)
    write_topics(letters, DELIVERY, BILLING)
    write_letters(letters, "Delivery: late", "Billing: twice")
    ended_run = letters.start_command("tag_live").wait()
    assert ended_run.code == 3
    assert "the vocabulary of letters changed during the command" in ended_run.stderr
    assert read_topics(letters) == [None, None]

    question_count = sum(outside_server.kept.questions().values())
    letters.run_command("tag_live")
    assert read_topics(letters) == ["Transport", "Billing"]
    assert sum(outside_server.kept.questions().values()) == question_count
