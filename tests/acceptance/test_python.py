"""Scripts of a user work on a workspace through the Python interface, next to commands."""

import json
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

from tests.acceptance.engine import LIVE_CALL, Engine
from tests.acceptance.process import PRODUCT, PYTHON
from tests.acceptance.product import KEY, Workspace
from tests.acceptance.scripts import DECLARED, script
from tests.scratch import BASE_ENVIRON

TABLES = Path(__file__).parent / "tables"


def test_task_without_a_file_is_asked_and_read_in_its_own_types(
    workspace: Workspace, api: Engine
) -> None:
    """Rows come with the call, and answers are instances of the declared class.

    Commands do not judge answers of a task that they cannot load. Several tasks run at once inside
    an event loop.
    """
    printed = script(
        workspace,
        """
        task = declared()
        assert ws.preflight(task, items=rows(3)).plan.requests == 3
        assert ws.tag(task, "live", items=rows(3)).left == 0
        answers = list(ws.answers(task))
        for answer in answers:
            assert type(answer.answer) is Review and answer.answer.verdicts
            text = answer.row["text"]
            for verdict in answer.answer.verdicts:
                assert text[verdict.quote.start : verdict.quote.end] == verdict.quote
        ws.tag(task, "live", items=rows(4))


        async def notebook():
            tasks = [declared(name=f"other{number}") for number in (1, 2)]
            threads = [asyncio.to_thread(ws.tag, task, "batch", items=rows(2)) for task in tasks]
            reports = await asyncio.gather(*threads)
            return [report.left for report in reports]


        open_counts = asyncio.run(notebook())
        ws.tag(declared(name="later"), "batch", items=rows(2), wait=False)
        flat = ws.answers("reviews").to_dicts()
        ws.correct(2, {"stars": 4}, task, who="ada")
        assert ws.show(2, task)["row"] == "2"
        assert ws.rows(task, fields="id, stars").to_dicts()[1].keys() >= {"id", "stars"}
        assert "budget='$5' is not a number" in refusal(ws.tag, task, budget="$5")
        textless = refusal(ws.ask, [{"id": 1, "text": {2}}], "What?")
        assert "no column with a text" in textless and "<rows given" not in textless
        answers_of_2 = [answer for answer in ws.answers(task) if answer.key == "2"]
        four_stars = [answer for answer in answers_of_2 if answer.answer.stars == 4]
        assert [answer.version for answer in four_stars] == ["person"]
        assert len(list(ws.answers(task, answer_version="reviews@1"))) == 4
        print(json.dumps([[answer.key for answer in answers], flat, open_counts], default=str))
        """,
    )
    keys, flat, open_counts = printed
    assert keys == ["1", "2", "3"]
    assert [row["id"] for row in flat] == [1, 2, 3, 4]
    assert open_counts == [0, 0]
    assert flat[0]["verdicts"][0]["quote"].keys() == {"quote", "start", "end"}
    assert api.count_calls("POST", LIVE_CALL) == 4

    # Another program reads no answer as an instance, because it has no class for it.
    message = script(workspace, 'print(json.dumps(refusal(list, ws.answers("reviews"))))')
    assert "declared in Python" in message
    assert "does not fit" not in message

    # Only Python can collect a batch of a task that has no file.
    workspace.task = "later"
    workspace.run_command("poll")
    assert "declared in Python" in workspace.run_command("ingest", code=2).stderr
    assert "declared in Python" in workspace.run_command("tag", code=2).stderr
    assert workspace.state_counts() == {"claimed": 2}
    assert script(workspace, 'print(ws.tag(declared(name="later"), items=rows(2)).left)') == 0
    assert workspace.state_counts() == {"answered": 2}


def test_python_and_commands_share_the_task_of_a_file(workspace: Workspace, api: Engine) -> None:
    """Python submits, commands collect, and both at once ask about each row once.

    A task that is declared in Python cannot use the name of a file.
    """
    shutil.copytree(TABLES, workspace.home / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    workspace.task = "reviews"
    printed = script(
        workspace,
        """
        from tasks.reviews import task

        assert ws.tag(task, "batch", wait=False, limit=3).under_way == 3
        message = refusal(ws.preflight, declared(), items=rows(1))
        print(json.dumps([[row.batch.requests for row in ws.batches()], message]))
        """,
    )
    assert (printed[0], "same name" in printed[1]) == ([3], True)

    workspace.run_commands("poll", "ingest")
    running = workspace.start_command("tag", mode="live", CONCURRENCY=2)
    script(workspace, 'print(ws.tag("reviews", "live", concurrency=2).left)')
    assert running.wait().code == 0
    assert (workspace.state_counts()["answered"], api.count_calls("POST", LIVE_CALL)) == (
        19,
        16,
    )
    script(workspace, 'print(len(list(ws.answers("reviews"))))')


def test_member_of_an_enum_is_sent_as_its_value(workspace: Workspace) -> None:
    """Cells with members of an Enum have their values, not the names of class and member."""
    cells = script(
        workspace,
        """
        import enum

        class Color(enum.Enum):
            RED = "dark red"
            SIZE = 7

        rows_of_enums = [{"id": 1, "text": "It broke.", "color": Color.RED, "size": Color.SIZE}]
        task = declared(prompt="{text} {color}", items=rows_of_enums)
        ws.tag(task, "live")
        [row] = ws.answers(task)
        print(json.dumps([row.row["color"], row.row["size"]]))
        """,
    )
    assert cells == ["dark red", 7]


def test_status_in_another_thread_does_not_change_the_asked_rows(workspace: Workspace) -> None:
    """The rows of the call are asked, even if another thread reads the status all the time."""
    workspace.write_file("reviews.csv", "id,text\n77,The file's own row.\n")
    keys = script(
        workspace,
        """
        import threading

        task = declared()
        is_over = threading.Event()

        def read_status():
            while not is_over.is_set():
                try:
                    ws.status(task)
                # The workspace does not exist yet.
                except askrows.AskrowsError:
                    pass

        reader = threading.Thread(target=read_status)
        reader.start()
        reports = [ws.tag(task, items=rows(count), mode="live") for count in (1, 2, 3)]
        is_over.set()
        reader.join()
        print(json.dumps([answer.key for answer in ws.answers(task)]))
        """,
    )
    assert keys == ["1", "2", "3"]


def test_people_are_imported_and_searched(workspace: Workspace) -> None:
    """Rows of people are imported like a file, tagged, indexed and searched.

    A row with half a character is rejected alone.
    """
    printed = script(
        workspace,
        """
        people = [{"username": f"person-{n}", "bio": f"I keep bees, number {n}."} for n in range(3)]
        faulty_row = {"username": "person-9", "bio": chr(0xD800)}
        assert (ws.add([faulty_row, *people]).added, ws.add(people).unchanged) == (3, 3)
        assert ws.preflight("experts").plan.requests == 3
        assert ws.tag("experts", "live", budget=1).left == 0
        assert len(list(ws.answers("experts"))) == 3
        correction = ws.correct("person-2", {"tags": ["apiculture"]}, who="ada")
        assert correction["answer"]["tags"] == ["apiculture"]
        assert "no field" in refusal(ws.correct, "person-2", {"tag": "x"}, who="ada")
        assert ws.index().count == 3
        (hit,) = ws.search("bees", where="bio CONTAINS 'number 1'")
        print(json.dumps([hit.metadata["username"], len(ws.search("bees", 2))]))
        """,
    )
    assert printed == ["person-1", 2]
    assert workspace.state_counts() == {"tagged": 3}


def test_wrong_arguments_are_refused_before_any_request(workspace: Workspace, api: Engine) -> None:
    """Each wrong argument raises an error of askrows with the message of the command.

    A changed prompt under one version names both ways to continue.
    """
    messages = script(
        workspace,
        """
        print(json.dumps([
            refusal(askrows.open, budgett=5),
            refusal(askrows.open, rpm="many"),
            refusal(ws.search),
            refusal(ws.search, "bees", 0),
            refusal(ws.search, "bees", rank="bm25"),
            refusal(ws.tag, "tasks/nowhere.py"),
            refusal(ws.tag, declared(name="")),
            refusal(ws.tag, declared(), items=7),
            refusal(ws.tag, "experts", items=rows(1)),
            refusal(ws.tag, declared(), items=[{"id": 1}]),
            refusal(declared, items=(row for row in rows(1))),
            refusal(ws.tag, declared(), items=rows(1), confirm_above=0),
            refusal(ws.tag, declared(), items=rows(2), limit=0),
            refusal(ws.tag, declared(), items=rows(2), budget=-1),
            refusal(ws.tag, declared(), items=rows(2), mode="none"),
            refusal(ws.add, [{"username": ""}]),
            refusal(ws.add, 7),
            refusal(ws.rows, "experts", stat="tagged"),
            # Types and bounds.
            refusal(ws.tag, "experts", limit="5"),
            refusal(ws.tag, "experts", limit=True),
            refusal(ws.preflight, "experts", limit=2.5),
            refusal(ws.try_, "experts", 10**30),
            refusal(ws.rows, "experts", limit=-1),
            refusal(ws.tag, "experts", where=5),
            refusal(ws.ask, "reviews.csv", "Who?", with_=5),
            refusal(ws.ask, "script.py", "Who?", header=10**30),
        ]))
        """,
    )
    fragments = (
        # Settings.
        "no setting 'budgett'",
        "rpm is 'many'",
        # Searches, before a workspace exists.
        "a question or like=",
        "k is 0",
        "rank is 'bm25'",
        # Tasks and their rows.
        "the task file tasks/nowhere.py does not exist",
        "needs a name",
        "rows must be a list of dicts",
        "items= works only with a Task",
        "'text'",
        "items=list(…)",
        "CONFIRM_ABOVE",
        "limit is 0",
        "budget is -1",
        "no mode 'none'",
        # People.
        "",
        "next: ",
        "no filter stat=",
        "limit='5' is not a whole number",
        "limit=True is not a whole number",
        "limit=2.5 is not",
        "n is 1000000000000000000000000000000, but must be from 1 to 1,000,000,000,000,000;",
        "limit is -1, but must be from 1",
        "where=5 is not a text",
        "with_=5 is not",
        "next: set header=3 for a header on line 3, or header='none'",
    )
    for fragment, message in zip(fragments, messages, strict=True):
        assert fragment in message, messages
    assert api.count_calls("POST", LIVE_CALL) == 0

    message = script(
        workspace,
        """
        ws.tag(declared(), "live", items=rows(1))
        changed = declared(prompt="Review: {text}")
        message = refusal(ws.tag, changed, items=rows(2))
        changed = declared(prompt="Review: {text}")
        assert ws.tag(changed, "live", items=rows(2), accept_changed=True).left == 0
        print(json.dumps(message))
        """,
    )
    assert "stores answers of both under version 1" in message
    assert api.count_calls("POST", LIVE_CALL) == 2


def run_fresh_script(workspace: Workspace, text: str) -> Any:
    """Run a script in a new interpreter, which has loaded and configured nothing yet."""
    workspace.home.mkdir(parents=True, exist_ok=True)
    path = workspace.write_file("script.py", DECLARED + textwrap.dedent(text))
    process = subprocess.run(
        [PYTHON, "-W", "ignore", str(path)],
        cwd=workspace.home,
        env={**BASE_ENVIRON, **workspace.environ, "PYTHONPATH": str(PRODUCT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def test_what_libraries_log_in_a_users_program_has_no_key(workspace: Workspace) -> None:
    """A program that logs everything sees neither the key nor the address of an upload."""
    log_text = run_fresh_script(
        workspace,
        """
        import io
        import logging

        log = io.StringIO()
        logging.basicConfig(level=logging.DEBUG, stream=log)
        ws.tag(declared(), "batch", items=rows(2))
        ws.tag(declared(), "live", items=rows(3))
        print(json.dumps(log.getvalue()))
        """,
    )
    assert "HTTP Request" in log_text, "the libraries' loggers were not heard"
    assert "upload_id=***" in log_text
    assert KEY not in log_text
