"""A workspace in Python: scripts of a user, run by the interpreter of the product, beside commands on one workspace."""

import json
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

from tests.acceptance.engine import Engine
from tests.acceptance.loaded import SCRIPT
from tests.acceptance.process import PLAIN, PRODUCT, PYTHON, Running
from tests.acceptance.product import KEY, Workspace

TABLES = Path(__file__).parent / "tables"
LIVE = ":generateContent"
DECLARED = """
import asyncio
import json
from typing import Literal

import findable
from findable import Quote, Task
from pydantic import BaseModel, Field


class Verdict(BaseModel):
    verdict: Literal["praise", "blame"]
    quote: Quote


class Review(BaseModel):
    verdicts: list[Verdict]
    stars: int | None = Field(default=None, ge=1, le=5)


def rows(count):
    return [{"id": n, "text": f"Kettle {n} boils in two minutes. The lid broke."} for n in range(1, count + 1)]


def declared(**changed):
    return Task(**{"answer": Review, "name": "reviews", "items": "reviews.csv", "prompt": "{text}", **changed})


def refusal(call, *given, **named):
    try:
        call(*given, **named)
    except findable.FindableError as error:
        return " ".join([str(error), *getattr(error, "__notes__", ())])
    raise AssertionError(f"{given} {named} was not refused")


ws = findable.open(quiet=True)
"""


def script(
    workspace: Workspace, text: str, *, head: str = DECLARED, code: int = 0, is_fresh: bool = False
) -> Any:
    """Run a script beside a workspace; return the last line that it prints as JSON, or what it says where it fails.

    It runs in a fork of what has the product loaded; one that `is_fresh` is run by an interpreter of its own, which
    has nothing loaded and configured yet.
    """
    workspace.home.mkdir(parents=True, exist_ok=True)
    path = workspace.put("script.py", head + textwrap.dedent(text))
    if not is_fresh:
        where: dict[str, Any] = {"cwd": workspace.home, "below": workspace.below}
        ended_process = Running(
            workspace.version(), [[SCRIPT, str(path)]], environ=workspace.environ, **where
        ).wait()
        assert ended_process.code == code, ended_process
        return json.loads(ended_process.out.splitlines()[-1]) if code == 0 else ended_process.err
    environ = {**PLAIN, **workspace.environ, "PYTHONPATH": str(PRODUCT)}
    command = [PYTHON, "-W", "ignore", str(path)]
    process = subprocess.run(
        command,
        cwd=workspace.home,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert process.returncode == code, process.stderr
    return json.loads(process.stdout.splitlines()[-1]) if code == 0 else process.stderr


def live_calls(api: Engine) -> int:
    """Return how often the server was asked live."""
    return sum(LIVE in one["path"] for one in api.journal())


def test_a_task_without_a_file_is_asked_and_read_in_its_own_types(
    workspace: Workspace, api: Engine
) -> None:
    """Rows are given with the call; answers are of the declared class; without its object a command does not judge it.

    It works inside a running event loop, several at once.
    """
    found = script(
        workspace,
        """
        task = declared()
        assert ws.preflight(task, items=rows(3)).plan.requests == 3
        assert ws.tag(task, "live", items=rows(3)).left == 0
        found = list(ws.answers(task))
        for one in found:
            assert type(one.answer) is Review and one.answer.verdicts
            assert all(one.row["text"][each.quote.start : each.quote.end] == each.quote for each in one.answer.verdicts)
        ws.tag(task, "live", items=rows(4))


        async def notebook():
            others = [declared(name=f"other{number}") for number in (1, 2)]
            done = await asyncio.gather(*(asyncio.to_thread(ws.tag, one, "batch", items=rows(2)) for one in others))
            return [one.left for one in done]


        left = asyncio.run(notebook())
        ws.tag(declared(name="later"), "batch", items=rows(2), wait=False)
        flat = ws.answers("reviews").to_dicts()
        ws.correct("2", {"stars": 4}, task, who="ada")
        assert [one.extractor for one in ws.answers(task) if one.answer.stars == 4 and one.key == "2"] == ["person"]
        assert len(list(ws.answers(task, extractor="reviews@1"))) == 4
        print(json.dumps([[one.key for one in found], flat, left], default=str))
        """,
    )
    keys, flat, left = found
    assert (keys, [row["id"] for row in flat], left) == (["1", "2", "3"], [1, 2, 3, 4], [0, 0])
    assert flat[0]["verdicts"][0]["quote"].keys() == {"quote", "start", "end"}
    assert live_calls(api) == 4
    workspace.task = "later"
    workspace.do("poll")
    assert "declared in Python" in workspace.do("ingest", code=2).err
    assert "declared in Python" in workspace.do("tag", code=2).err
    assert workspace.states() == {"claimed": 2}
    assert script(workspace, 'print(ws.tag(declared(name="later"), items=rows(2)).left)') == 0
    assert workspace.states() == {"answered": 2}


def test_a_task_of_a_file_is_one_for_python_and_for_commands(
    workspace: Workspace, api: Engine
) -> None:
    """Python submits, commands collect; both at once ask every row once; a file's name is not a notebook's."""
    shutil.copytree(TABLES, workspace.home / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    workspace.task = "reviews"
    found = script(
        workspace,
        """
        from tasks.reviews import task

        assert ws.tag(task, "batch", wait=False, limit=3).under_way == 3
        said = refusal(ws.preflight, declared(), items=rows(1))
        print(json.dumps([[one.batch.requests for one in ws.batches()], said]))
        """,
    )
    assert (found[0], "same name" in found[1]) == ([3], True)
    workspace.each("poll", "ingest")
    running = workspace.start("tag", mode="live", CONCURRENCY=2)
    script(workspace, 'print(ws.tag("reviews", "live", concurrency=2).left)')
    assert running.wait().code == 0
    assert (workspace.states()["answered"], live_calls(api)) == (19, 16)
    script(workspace, 'print(len(list(ws.answers("reviews"))))')
    (workspace.home / "pipeline").mkdir()
    (workspace.home / "pipeline" / "__init__.py").write_text("raise RuntimeError('not to be run')")
    assert "findable needs its own package `pipeline`" in script(
        workspace, "", head="import findable\n", code=1, is_fresh=True
    )


def test_a_look_from_another_thread_leaves_the_rows_that_are_asked(workspace: Workspace) -> None:
    """Rows given in the place of a task's own are those that are asked, however often its state is looked at beside."""
    workspace.put("reviews.csv", "id,text\n77,The file's own row.\n")
    found = script(
        workspace,
        """
        import threading

        task, over = declared(), threading.Event()

        def look():
            while not over.is_set():
                try:
                    ws.status(task)
                except findable.FindableError:  # nothing is there yet
                    pass

        looking = threading.Thread(target=look)
        looking.start()
        tagged = [ws.tag(task, items=rows(count), mode="live") for count in (1, 2, 3)]
        over.set()
        looking.join()
        print(json.dumps([one.key for one in ws.answers(task)]))
        """,
    )
    assert found == ["1", "2", "3"]


def test_what_is_returned_is_a_line(workspace: Workspace) -> None:
    """The words of the commands give rows, documents and a file."""
    found = script(
        workspace,
        """
        given = [{"id": n, "text": f"<b>Kettle</b> {n} boils. The lid broke."} for n in range(1, 31)]
        done = [ws.preflight(declared(), items=given), ws.try_(declared(), 1, items=given)]
        done += [ws.tag(declared(), "live", items=given), ws.answers("reviews"), *ws.answers("reviews")]
        rows = ws.rows("reviews", "kettle", state="answered", where="id = 7")
        done += [ws, rows, ws.status("reviews"), ws.show("7", "reviews"), ws.export("out.csv", "reviews")]
        done += [ws.parked("reviews"), ws.batches(), *ws.batches(), ws.log(2), done[1].items[0]]
        assert [row["id"] for row in rows] == [7], rows[:]
        assert [len(ws.rows("reviews", limit=limit)) for limit in (None, 4)] == [30, 4]
        told = {"longest": max(len(repr(one)) for one in done), "lines": {repr(one).count("\\n") for one in done}}
        again = refusal(ws.export, "out.csv", "reviews")
        never = refusal(lambda: list(ws.answers("reviews", extractor="reviews@9")))
        print(json.dumps([told["longest"], list(told["lines"]), len(open("out.csv").readlines()), again, never]))
        """,
    )
    assert (found[0] < 120, found[1], found[2]) == (True, [0], 31), found
    assert "is there already" in found[3]
    assert "no answer of 'reviews@9'" in found[4]


def test_people_go_in_and_are_found(workspace: Workspace) -> None:
    """Rows are imported as a file is, tagged, indexed and searched."""
    found = script(
        workspace,
        """
        people = [{"username": f"person-{n}", "bio": f"I keep bees, number {n}."} for n in range(3)]
        assert (ws.add(people).added, ws.add(people).unchanged) == (3, 3)
        assert ws.preflight("experts").plan.requests == 3
        assert ws.tag("experts", "live", budget=1).left == 0
        assert len(list(ws.answers("experts"))) == 3
        assert ws.correct("person-2", {"tags": ["apiculture"]}, who="ada")["answer"]["tags"] == ["apiculture"]
        assert "no field" in refusal(ws.correct, "person-2", {"tag": "x"}, who="ada")
        assert ws.index().count == 3
        (hit,) = ws.search("bees", where="bio CONTAINS 'number 1'")
        print(json.dumps([hit.metadata["username"], len(ws.search("bees", 2))]))
        """,
    )
    assert found == ["person-1", 2]
    assert workspace.states() == {"tagged": 3}


def test_what_is_wrong_is_told_before_anything_is_asked(workspace: Workspace, api: Engine) -> None:
    """By an error of findable's own, as a command says it; a change under one version with its ways on."""
    said = script(
        workspace,
        """
        print(json.dumps([
            refusal(findable.open, budgett=5),
            refusal(findable.open, rpm="many"),
            refusal(ws.search),
            refusal(ws.search, "bees", 0),
            refusal(ws.search, "bees", rank="bm25"),
            refusal(ws.search, "bees", wheer="bio IS NULL"),
            refusal(ws.tag, "tasks/nowhere.py"),
            refusal(ws.tag, declared(name="")),
            refusal(ws.tag, declared(), items=7),
            refusal(ws.tag, "experts", items=rows(1)),
            refusal(ws.tag, declared(), items=[{"id": 1}]),
            refusal(ws.tag, declared(), items=rows(1), confirm_above=0),
            refusal(ws.tag, declared(), items=rows(2), limit=0),
            refusal(ws.tag, declared(), items=rows(2), budget=-1),
            refusal(ws.tag, declared(), items=rows(2), mode="none"),
            refusal(ws.add, [{"username": ""}]),
            refusal(ws.add, 7),
            refusal(ws.rows, "experts", stat="tagged"),
        ]))
        """,
    )
    wanted = (
        *("no setting 'budgett'", "rpm is 'many'"),
        *(
            "a question or like=",
            "k is 0",
            "rank is 'bm25'",
            "no wheer=",
        ),  # before there is a workspace
        *("no such file", "needs a name", "rows are a list of dicts"),
        *(
            "items= goes with a Task",
            "'text'",
            "CONFIRM_ABOVE",
            "limit is 0",
            "budget is -1",
            "mode is 'none'",
        ),
        *("", "next: ", "no stat="),
    )
    assert [words in one for words, one in zip(wanted, said, strict=True)] == [True] * len(
        wanted
    ), said
    assert live_calls(api) == 0
    said = script(
        workspace,
        """
        ws.tag(declared(), "live", items=rows(1))
        said = refusal(ws.tag, declared(prompt="Review: {text}"), items=rows(2))
        assert ws.tag(declared(prompt="Review: {text}"), "live", items=rows(2), accept_changed=True).left == 0
        print(json.dumps(said))
        """,
    )
    assert "keep both under 1" in said
    assert live_calls(api) == 2


def test_what_libraries_log_in_a_users_program_has_no_key(workspace: Workspace) -> None:
    """The chain runs under the program's own logging at its fullest, and no line of it shows the key or an upload."""
    said = script(
        workspace,
        """
        import io
        import logging

        heard = io.StringIO()
        logging.basicConfig(level=logging.DEBUG, stream=heard)
        ws.tag(declared(), "batch", items=rows(2))
        ws.tag(declared(), "live", items=rows(3))
        print(json.dumps(heard.getvalue()))
        """,
        is_fresh=True,
    )
    assert "HTTP Request" in said, "the libraries' loggers were not heard"
    assert "upload_id=***" in said
    assert KEY not in said
