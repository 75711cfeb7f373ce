"""Members of a task's declaration that change what its rows and answers are."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.database import run_sql
from tests.acceptance.product import BATCH_COMMANDS, Workspace
from tests.acceptance.scripts import script
from tests.outside.answers import Json, user_text
from tests.outside.server import Outside

# A kind of boat, and its tags. The model repeats them in upper case.
BOATS = (
    (1, "Ada", "ketch", "teak, oak, brass"),
    (2, "Bee", "sloop", "steel"),
    (3, "Cod", "yawl", "none"),
    (4, "Dee", "", "glass"),
)
CLEAN = """
def clean(answer, row):
    tags = [tag.lower() for tag in answer.tags]
    if "none" in tags:
        raise NoAnswer("tag")
    return answer.model_copy(update={"tags": tags[:2]}), len(tags[2:])
"""


@pytest.fixture(name="boats")
def _boats(workspace: Workspace, outside_server: Outside) -> Workspace:
    """Return a workspace whose commands use the task `boats`, with four rows."""
    workspace.url = outside_server.url
    workspace.task = "boats"
    workspace.settings["YES"] = "1"
    outside_server.answerer = repeat_tags
    lines = (f'{number},{name},{kind},"{tags}"' for number, name, kind, tags in BOATS)
    workspace.write_file("tasks/boats.csv", "\n".join(["id,name,kind,text", *lines, ""]))
    return workspace


def repeat_tags(request: Json) -> Json:
    """Return the tags of the row's text in upper case."""
    text = user_text(request).split("<text>", 1)[-1].split("</text>", 1)[0]
    return {"tags": [tag.strip().upper() for tag in text.split(",")]}


def declare(workspace: Workspace, *arguments: str, code: str = "") -> Path:
    """Write the file of the task; `code` precedes its declaration."""
    members = ["answer=Tags", "items='boats.csv'", "prompt='{kind} {text}'", *arguments]
    return workspace.write_file(
        "tasks/boats.py",
        "from pydantic import BaseModel\n\nfrom askrows import NoAnswer, Task\n\n\n"
        f"class Tags(BaseModel):\n    tags: list[str]\n\n{code}\n\n"
        f"task = Task({', '.join(members)})\n",
    )


def read_tags(workspace: Workspace) -> dict[str, Any]:
    """Return the exported tags of each row by key."""
    return {row["id"]: row["tags"] for row in workspace.exported_rows()}


def test_a_row_without_a_required_value_is_empty(boats: Workspace) -> None:
    """A row with a blank in one of the columns is not asked, also if the member is added later."""
    declare(boats, "requires=['kind', 'name']")
    boats.run_commands(*BATCH_COMMANDS)
    assert boats.state_counts() == {"answered": 3, "empty": 1}

    declare(boats)
    assert "1 row" in boats.run_command("tag", dry=True).output
    declare(boats, "requires=['kind']")
    boats.run_command("tag_live")
    assert boats.state_counts() == {"answered": 3, "empty": 1}
    assert len(boats.logged_requests()) == 3

    path = declare(boats, "requires=['knd']")
    error_output = boats.run_command("tag", code=2).stderr
    assert f"{path}, line " in error_output
    assert "requires= names the column 'knd', but the rows have id, name, kind" in error_output
    declare(boats, "requires='kind'")
    assert "requires= must be a list of columns" in boats.run_command("tag", code=2).stderr


def test_a_query_with_a_cursor_is_read_whole_after_its_required_columns_changed(
    boats: Workspace,
) -> None:
    """Rows before the cursor are empty, too."""
    run_sql(boats, "CREATE TABLE ships (id INTEGER PRIMARY KEY, kind TEXT, text TEXT)")
    for number, kind in ((1, None), (2, "yawl")):
        insert = "INSERT INTO ships (id, kind, text) VALUES (:id, :kind, 'oak')"
        run_sql(boats, insert, id=number, kind=kind)
    arguments = ["cursor='id'"]
    for required in ("requires=[]", "requires=['kind']"):
        path = declare(boats, *arguments, required)
        query = "SELECT id, kind, text FROM ships ORDER BY id"
        path.write_text(path.read_text().replace("boats.csv", query))
        boats.run_command("tag_live", where="id = 2")
    assert boats.state_counts() == {"answered": 1, "empty": 1}


@pytest.mark.excused("nobody_is_answered_twice")
def test_an_answer_is_stored_as_clean_returns_it(boats: Workspace) -> None:
    """Cut values are counted, a row without an answer is parked at once, and edits are cleaned."""
    declare(boats, "clean=clean", code=CLEAN)
    tried = boats.read_json("try", row=3)
    assert [row["reason"] for row in tried["rows"]] == ["the text supports no tag"]

    boats.run_commands("submit", "poll")
    assert "left out 1 value" in boats.run_command("ingest").stderr
    assert read_tags(boats) == {
        "1": ["teak", "oak"],
        "2": ["steel"],
        "3": None,
        "4": ["glass"],
    }
    assert boats.state_counts() == {"answered": 3, "parked": 1}
    assert boats.parked_reasons() == {"3": "the text supports no tag"}
    assert len(boats.logged_requests()) == 4

    boats.run_command("correct", row=2, set='tags=["IRON"]')
    assert read_tags(boats)["2"] == ["iron"]
    for tags, reason in (('["a", "b", "c"]', "1 value too many"), ('["NONE"]', "supports no tag")):
        refusal = boats.run_command("correct", row=2, set=f"tags={tags}", code=2)
        assert reason in refusal.stderr

    # A person may ask the row again: its earlier answer is not used.
    boats.run_command("unpark", all=True)
    boats.run_commands("tag_live")
    assert len(boats.logged_requests()) == 5
    assert boats.parked_reasons() == {"3": "the text supports no tag"}

    # A row with the same text is parked without a request.
    lines = [f'{number},Eva,brig,"{tags}"' for number, tags in ((5, "none"), (6, "STEEL"))]
    path = boats.home / "tasks/boats.csv"
    path.write_text(path.read_text() + "\n".join([*lines, ""]))
    boats.run_command("tag_live")
    assert boats.state_counts() == {"answered": 4, "parked": 2}
    assert "no contradiction found" in boats.run_command("doctor").stdout


@pytest.mark.excused("nobody_is_answered_twice")
def test_check_may_find_that_a_text_supports_no_answer(boats: Workspace) -> None:
    """A row that changed meanwhile is not parked, and an error in `clean` keeps the reply."""
    check = (
        "\ndef check(answer, row):\n"
        "    if row['kind'] == 'yawl':\n        raise NoAnswer('tag of a yawl')\n"
    )
    declare(boats, "check=check", code=check)
    boats.write_file("tasks/boats.csv", 'id,name,kind,text\n1,Ada,yawl,"oak"\n2,Bee,yawl,"ash"\n')
    boats.run_commands("submit", "poll")
    boats.write_file("tasks/boats.csv", 'id,name,kind,text\n1,Ada,yawl,"oak"\n2,Bee,brig,"ash"\n')
    boats.run_commands("submit", "ingest")
    assert boats.parked_reasons() == {"1": "the text supports no tag of a yawl"}
    boats.run_command("tag_live")
    assert boats.state_counts() == {"answered": 1, "parked": 1}


# Each case: the body of `clean`, and a part of the message.
CLEAN_FAULTS = {
    "error": ("return 1 / 0", "clean() failed on '1': ZeroDivisionError"),
    "no pair": ("return answer", "but it returned Tags("),
    "invalid": (
        "return answer.model_copy(update={'tags': 3}), 0",
        "its answer is invalid: tags: Input should be a valid array",
    ),
    "unstorable": (
        "return answer.model_copy(update={'tags': ['\\0']}), 0",
        "its answer has a text with NUL",
    ),
}


@pytest.mark.alike
def test_a_failing_clean_is_named_with_its_line_and_keeps_the_reply(boats: Workspace) -> None:
    """The reply is judged by the next command, after the file was corrected."""
    declare(boats)
    boats.run_commands("submit", "poll")
    for body, message in CLEAN_FAULTS.values():
        path = declare(boats, "clean=clean", code=f"\ndef clean(answer, row):\n    {body}\n")
        error_output = boats.run_command("ingest", code=3).stderr
        assert f"{path}, line " in error_output
        assert message in error_output
        assert boats.state_counts() == {"claimed": 4}

    declare(boats, "clean=clean", code=CLEAN)
    boats.run_command("ingest")
    assert boats.state_counts() == {"answered": 3, "parked": 1}
    declare(boats, "clean=3")
    error_output = boats.run_command("tag", code=2).stderr
    assert "clean= must be a function of an answer and its row" in error_output


def test_a_task_has_its_own_words(boats: Workspace) -> None:
    """Words name rows and states in messages, lists, exports, filters, views and on the page."""
    declare(
        boats,
        "words=('boat', 'boats', 'made_of', 'no_kind')",
        "requires=['kind']",
        "index='{tags}'",
    )
    assert "no boat is made of" in boats.run_command("index", code=2).stderr
    boats.run_commands(*BATCH_COMMANDS, "index")
    assert boats.state_counts() == {"made_of": 3, "no_kind": 1}
    assert {row["state"] for row in boats.exported_rows()} == {"made_of", "no_kind"}
    (row,) = boats.read_json("items", where="state = 'no_kind'")["rows"]
    assert row["id"] == "4"
    assert "every boat with content is made of" in boats.run_command("tag", dry=True).output

    with boats.serve_page() as page:
        facets = page.get("/parts/facets?task=boats").text
        assert "4 boats" in facets
        assert "made of" in facets

    script(
        boats,
        """
        assert len(list(ws.rows("boats", state="no_kind"))) == 1
        print(1)
        """,
    )
    for words, message in (
        ("('boat', 'boats', 'made')", "words= must be four texts"),
        ("('boat', 'boats', 'made of', 'empty')", "words= has the state 'made of'"),
        ("('boat', 'boats', 'open', 'empty')", "words= has 'open', which is another state"),
        ("('boat', 'boats', 'made', 'made')", "words= has 'made', which is another state"),
    ):
        path = declare(boats, f"words={words}")
        error_output = boats.run_command("tag", code=2).stderr
        assert f"{path}, line " in error_output
        assert message in error_output


SCORE = '''
def score(row, answer) -> float:
    """Return the length of the name, and two more for each tag."""
    return len(row["name"]) + 2.0 * len(answer["tags"] if answer else ())


def describe(row, answer):
    tags = answer["tags"] if answer else ["unknown wood"]
    return f"{row['name']} made of {' and '.join(tags)}".lower()
'''
DERIVED = ("derive={'score': score}", "index=describe")


def read_scores(workspace: Workspace, *ids: str) -> list[float]:
    """Return the exported scores of rows in the order of the source."""
    return [row["score"] for row in workspace.exported_rows() if row["id"] in (ids or "1234")]


# A rollback deletes the answers of a version, and its rows are asked again.
@pytest.mark.excused("nobody_is_answered_twice")
def test_a_derived_value_follows_its_row_and_answer(boats: Workspace) -> None:
    """It is a column of every row, and is written with what changes the row or its answer."""
    declare(boats, *DERIVED, code=SCORE)
    boats.run_commands("submit", "poll")
    assert read_scores(boats) == [3, 3, 3, 3]
    boats.run_command("ingest")
    assert read_scores(boats) == [9, 5, 5, 5]

    listed = boats.read_json("items", where="score > 3", sort="-score", fields="name,score")
    assert [row["name"] for row in listed["rows"]] == ["Ada", "Dee", "Cod", "Bee"]
    assert "score" in boats.run_command("items").stdout
    assert "score: 9" in boats.run_command("show", "1").stdout
    assert run_sql(boats, "SELECT score FROM boats_answered ORDER BY id")[0][0] == 9
    with boats.serve_page() as page:
        assert "score" in page.get("/parts/rows?task=boats").text

    boats.run_command("correct", row=2, set='tags=["a", "b", "c"]')
    assert read_scores(boats, "2") == [9]
    path = boats.home / "tasks/boats.csv"
    path.write_text(path.read_text().replace("Cod", "Codfish"))
    boats.run_command("submit")
    assert read_scores(boats, "3") == [9]

    # A value is made anew of all rows when the file changed.
    declare(boats, *DERIVED, code=SCORE.replace("2.0", "10.0"))
    boats.run_command("tag")
    assert read_scores(boats) == [33, 33, 17, 13]
    boats.run_command("rollback", "boats@1")
    assert read_scores(boats) == [3, 33, 7, 3]
    boats.run_command("tag_live")
    assert read_scores(boats) == [33, 33, 17, 13]
    assert "no contradiction found" in boats.run_command("doctor").stdout


@pytest.mark.alike
def test_a_derived_value_is_that_of_the_preferred_version(
    boats: Workspace, outside_server: Outside
) -> None:
    """It changes with the answers of another version, and with PREFER_VERSIONS."""
    declare(boats)
    assert "have no derived values" in boats.run_command("score", code="any").stderr
    declare(boats, *DERIVED, code=SCORE)
    boats.run_command("tag_live")
    outside_server.answerer = lambda _request: {"tags": ["a", "b", "c", "d"]}
    declare(boats, *DERIVED, "version=2", code=SCORE)
    boats.run_command("tag_live")
    assert read_scores(boats) == [11, 11, 11, 11]
    boats.run_command("tag_live", PREFER_VERSIONS="boats@1")
    assert read_scores(boats) == [9, 5, 5, 5]


def test_an_index_is_made_by_a_function_and_has_the_declared_metadata(boats: Workspace) -> None:
    """Its text is made when the answer is stored, so that other commands need no file."""
    metadata = "metadata={'Name': 'name', 'tags': 'tags', 'score': 'score', 'key': 'id'}"
    path = declare(boats, *DERIVED, metadata, code=SCORE)
    boats.run_commands(*BATCH_COMMANDS, "index")
    (entry,) = boats.read_json("search", "glass", k=1)
    assert (entry["text"], entry["answer"]) == ("dee made of glass", {"tags": ["GLASS"]})
    for condition in ("score = 5 AND \"Name\" = 'Bee'", "kind = 'sloop'", "answer.tags = 'steel'"):
        assert boats.search("steel", where=condition) == ["2"], condition
    assert boats.search("made", tag="oak") == ["1"]
    assert boats.search('"made of steel"') == ["2"]
    (metadata_path,) = boats.data.glob("index/tasks/boats/current/metadata.json")
    first_entry = json.loads(metadata_path.read_text())[0]
    assert list(first_entry) == ["id", "Name", "tags", "score", "key"]
    assert first_entry["tags"] == ["TEAK", "OAK", "BRASS"]

    declare(boats, *DERIVED, metadata, code=SCORE.replace("made of", "is of"))
    boats.run_commands("tag", "index")
    (entry,) = boats.read_json("search", "glass", k=1)
    assert entry["text"] == "dee is of glass"
    path.rename(path.with_suffix(".txt"))
    assert "cannot be read" in boats.run_command("rollback", "boats@1", code=2).stderr
    assert "dee is of glass" in boats.run_command("search", "glass").stdout
    boats.run_command("show", "1")


def test_rows_without_an_answer_are_found_by_words_of_their_text(boats: Workspace) -> None:
    """The function of the index makes their text; empty rows and meaning find none of them."""
    declare(boats, *DERIVED, "requires=['kind']", code=SCORE)
    boats.run_command("tag_live", limit=1)
    report = boats.run_command("index", json=True).json
    assert report["count"] == 1
    hits = boats.read_json("search", "unknown wood", rank="words")
    assert [(hit["key"], hit["untagged"], hit["similarity"]) for hit in hits] == [
        ("2", True, None),
        ("3", True, None),
    ]
    assert boats.search("unknown", rank="vectors") == ["1"]
    boats.run_commands("tag_live", "index")
    assert boats.search("unknown wood", rank="words") == []


def test_lists_and_hits_show_the_declared_columns(boats: Workspace) -> None:
    """They are columns, derived values and fields, in the declared order; a hit has its key."""
    metadata = "metadata={'Boat': 'name', 'Score': 'score'}"
    columns = "list_columns=['name', 'tags', 'score']"
    declare(boats, *DERIVED, metadata, columns, code=SCORE)
    boats.run_commands(*BATCH_COMMANDS, "index")
    (row, *_) = boats.read_json("items")["rows"]
    assert list(row)[:4] == ["id", "name", "tags", "score"]
    (hit,) = boats.read_json("search", "steel", k=1)
    assert list(hit)[:6] == ["rank", "id", "similarity", "name", "tags", "row_score"]
    assert (hit["id"], hit["name"], hit["tags"], hit["row_score"]) == ("2", "Bee", ["STEEL"], 5)
    assert "rank\tid\tname\ttags\trow_score" in boats.run_command("search", "steel").stdout

    declare(boats, *DERIVED, "list_columns=['nam']", code=SCORE)
    message = boats.run_command("tag", code=2).stderr
    assert "list_columns= names the column 'nam'" in message


def test_words_that_describe_no_row_do_not_count_in_questions(boats: Workspace) -> None:
    """A question is searched without them, unless it has no other word."""
    declare(boats, "label='{name}'", "index='{name} {tags}'", "question_words=['ada']")
    boats.run_commands(*BATCH_COMMANDS, "index")
    assert boats.search("ada of steel", rank="words") == ["2"]
    assert boats.search("ada", rank="words") == ["1"]


def test_a_derived_value_is_written_to_a_column_of_another_program(boats: Workspace) -> None:
    """The column has the value of every row; `score` restores it, and `forget` empties it."""
    run_sql(boats, "CREATE TABLE ships (id VARCHAR(9) PRIMARY KEY, text TEXT, score REAL)")
    for number, text in ((1, "oak"), (2, ""), (3, "ash")):
        insert = "INSERT INTO ships (id, text) VALUES (:id, :text)"
        run_sql(boats, insert, id=str(number), text=text)
    code = "\ndef score(row, answer) -> float:\n    return 5.0 if answer else 1.0\n"
    arguments = ["items='SELECT id, text FROM ships ORDER BY id'", "derive={'ships.score': score}"]
    path = declare(boats, *arguments, code=code)
    path.write_text(path.read_text().replace("items='boats.csv', prompt='{kind} ", "prompt='"))
    boats.run_commands("submit", "poll")
    assert run_sql(boats, "SELECT score FROM ships ORDER BY id") == [(1.0,), (1.0,), (1.0,)]
    boats.run_command("ingest")
    assert run_sql(boats, "SELECT score FROM ships ORDER BY id") == [(5.0,), (1.0,), (5.0,)]

    # Another program changes cells.
    run_sql(boats, "UPDATE ships SET score = 9 WHERE id IN ('1', '2')")
    findings = boats.run_command("doctor", code=5).output
    assert "2 derived values that do not match their rows, of 1, 2" in findings
    assert boats.read_json("score") == {"total": 3, "changed": 2}
    assert run_sql(boats, "SELECT score FROM ships ORDER BY id") == [(5.0,), (1.0,), (5.0,)]
    assert boats.read_json("score") == {"total": 3, "changed": 0}
    assert boats.read_json("doctor")["healthy"]
    boats.run_command("forget", "3")
    assert run_sql(boats, "SELECT score FROM ships ORDER BY id") == [(5.0,), (1.0,), (None,)]

    path.write_text(path.read_text().replace("ships.score", "ships.rating"))
    error_output = boats.run_command("tag", code=2).stderr
    assert "derive='ships.rating': the database refuses to write there" in error_output


# Each case: the body of a function of `derive`, and a part of the message.
DERIVE_FAULTS = {
    "error": ("return row['knd']", "score() failed on '1': KeyError: 'knd'"),
    "list": ("return [1]", "score() returned [1], but its kind is real, for '1'"),
    "unstorable": ("return float('nan')", "score() returned a number that is NaN"),
}
DECLARATION_FAULTS = {
    "derive={'tags': score}": "derive= has 'tags', which is a column or a field",
    "derive={'a b': score}": "derive= has the name 'a b'",
    "derive={'score': 3}": "derive= must map 'score' to a function of a row and its answer",
    "derive=score": "derive= must be a mapping",
    "index=3": "index= must be a text or a function",
    "index=describe, metadata={'text': 'name'}": "is a member of each entry",
    "index=describe, metadata={'Name': 'nam'}": "metadata= names the column 'nam'",
}


@pytest.mark.alike
def test_a_wrong_function_is_named_with_its_line_and_row(boats: Workspace) -> None:
    """Nothing is changed then."""
    for body, message in DERIVE_FAULTS.values():
        code = f"\ndef score(row, answer) -> float:\n    {body}\n"
        path = declare(boats, "derive={'score': score}", code=code)
        error_output = boats.run_command("tag", code=3).stderr
        assert f"{path}, line " in error_output
        assert message in error_output
        assert "nothing was changed" in error_output
    for members, message in DECLARATION_FAULTS.items():
        path = declare(boats, members, code=SCORE)
        error_output = boats.run_command("tag", code=2).stderr
        assert f"{path}, line " in error_output
        assert message in error_output


@pytest.mark.alike
def test_python_declares_a_task_with_functions(workspace: Workspace) -> None:
    """Functions of a script without a task's file are run, too, and their values are stored."""
    rows, scores, parked = script(
        workspace,
        """
        def clean(answer, row):
            if row["id"] == 2:
                raise askrows.NoAnswer("verdict")
            return answer.model_copy(update={"stars": 5}), 0


        def declare(points):
            return declared(
                clean=clean,
                derive={"score": lambda row, answer: points if answer else 0},
                requires=["note"],
                words=("note", "notes", "judged", "blank"),
                index=lambda row, answer: f"{row['text']} {answer and answer['stars']}",
                metadata={"Note": "note"},
            )


        notes = [{**row, "note": "" if row["id"] == 3 else "n"} for row in rows(3)]
        task = declare(7)
        ws.tag(task, "live", items=notes)
        listed = ws.rows(task, where="score >= 0", fields="id,score,state").to_dicts()
        ws.tag(declare(9), "live", items=notes)
        scores = [row["score"] for row in ws.rows(task, fields="score").to_dicts()]
        print(json.dumps([listed, scores, ws.parked(task).to_dicts()], default=str))
        """,
    )
    assert [(row["score"], row["state"]) for row in rows] == [
        (7, "judged"),
        (0, "parked"),
        (0, "blank"),
    ]
    assert scores == [9, 0, 0]
    assert [row["reason"] for row in parked] == ["the text supports no verdict"]
