"""What is told to type next leads on: where a file is another thing than was thought, or a name is mistyped."""

import os
import re
import shlex
import subprocess

import pytest

from tests.acceptance.process import PRODUCT, PYTHON
from tests.acceptance.product import HEADER, Workspace

REVIEWS = "id,product,text\n1,kettle,Boils a full litre in two minutes and the handle stays cool.\n"


def step(said: str) -> list[str]:
    """Return the words of the command that a message names between backticks."""
    return shlex.split(said.rpartition("next: ")[2].split("`")[1])


def test_a_file_of_no_people_leads_to_what_asks_about_it_and_leaves_nothing(
    workspace: Workspace,
) -> None:
    """A table of reviews is asked about by the command that is named; a header alone has no rows."""
    file = workspace.put("reviews.csv", REVIEWS)
    said = workspace.do("import", file, code=2).err
    assert step(said) == ["findable", "ask", str(file), "-q", "…"]
    head = workspace.put("head.csv", HEADER)
    assert (
        "next: the file holds a header, or nothing, and no rows"
        in workspace.do("import", head, code=2).err
    )
    assert not workspace.data.exists()
    said = workspace.do("ask", head, q="Praise?", code=2).err
    assert "nothing was asked" in said
    assert "text:" not in said
    assert "nothing was imported" not in workspace.do("ask", "nope.csv", q="Praise?", code=2).err


def test_a_table_of_people_is_imported_once_and_its_notes_are_read_once(
    workspace: Workspace,
) -> None:
    """A column of dates is proposed for no text; the e-mail that two share is named; unchanged, nothing is noted."""
    file = workspace.put(
        "people.csv",
        "E-Mail,Geburtsdatum,Kurzbio\nann@x.org,1970-01-02,Bees\nbob@x.org,1971-01-02,Ice\nann@x.org,,Tea\n",
    )
    which = {"map": "username=E-Mail,bio=Kurzbio"}
    error_output = workspace.do("import", file, **which).err
    assert "bio=Geburtsdatum" not in error_output
    assert "already on line 2 (ann@x.org)" in error_output
    workspace.put(
        "people.csv",
        "E-Mail,Geburtsdatum,Kurzbio\nann@x.org,1970-01-02,Bees\nbob@x.org,1971-01-02,Ice\n",
    )
    assert "note:" not in workspace.do("import", file, **which).err


def test_a_name_that_nothing_has_is_answered_with_the_nearest(workspace: Workspace) -> None:
    """A person, a tag, a task that the command is not about, a condition where there is none, a task as a way."""
    workspace.people(3)
    workspace.each("tag_live", "index")
    name = workspace.read("items")["items"][0]["username"]
    assert f"did you mean {name}?" in workspace.do("show", f"{name}x", code=2).err
    tag = next(iter(workspace.tags().values()))[0]
    assert f"did you mean {tag}?" in workspace.do("search", "bees", tag=f"{tag}x").err
    error_output = workspace.do("people", task="passages", code=2).err
    assert "about experts, and not about passages; nothing was done" in error_output
    assert step(workspace.do("items", where="stars < 3", code=2).err) == [
        "findable",
        "search",
        "…",
        "--where",
        "stars < 3",
    ]
    assert "is no version, and no draft" in workspace.do("try", a="2", b="passages", code=2).err
    workspace.do("export", "out.csv")
    assert "next: --overwrite replaces it" in workspace.do("export", "out.csv", code=2).err
    assert "next: mkdir" in workspace.do("export", "no/out.csv", code=2).err


def test_where_everything_stands_is_said_in_six_lines(workspace: Workspace) -> None:
    """In words, with what is under way; what stands behind it is told on request."""
    workspace.people(4)
    workspace.do("submit")
    lines = workspace.do("status").out.splitlines()
    assert [line[:11].strip() for line in lines] == [
        "workspace",
        "experts",
        "under way",
        "spent",
        "index",
        "next",
    ]
    assert "4: 0 tagged, 4 under way" in lines[1]
    output = workspace.do("status", more=True).out
    assert {line for line in lines if not line.startswith("under way")} <= set(output.splitlines())
    assert "backend gemini" in output


@pytest.mark.parametrize("path", ["/usr/bin:/bin", f"{os.path.dirname(PYTHON)}:/usr/bin:/bin"])  # noqa: PTH120
def test_what_is_told_to_type_is_on_the_path_or_is_named_in_full(
    workspace: Workspace, path: str
) -> None:
    """`findable` alone means something only where a shell finds it."""
    environ = {"PATH": path, "FINDABLE_DATA": str(workspace.data)}
    process = subprocess.run(
        [PYTHON, "-m", "jobs", "status"],
        cwd=PRODUCT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    words = step(process.stderr)
    assert (
        words[0] == "findable"
        if path.startswith(os.path.dirname(PYTHON))  # noqa: PTH120
        else words[1:3] == ["-m", "jobs"]
    )


def test_rows_that_share_an_answer_are_counted_once(workspace: Workspace) -> None:
    """With a limit of questions more rows than these are answered; with those that were not asked they are all."""
    alike = "Boils fast and the handle stays cool all day."
    rows = [
        f"{number},{alike if number % 2 else f'Text number {number} about a kettle and its handle.'}"
        for number in range(12)
    ]
    file = workspace.put("kettles.csv", "\n".join(["id,text", *rows, ""]))
    workspace.do("new_task", "kettles", **{"from": file.name})
    said = workspace.do("tag", task="kettles", mode="live", limit=4).out
    [answered] = [int(count) for count in re.findall(r"(\d+) answered", said)]
    assert answered > 4
    assert workspace.states("kettles") == {"answered": answered, "open": 12 - answered}
    workspace.do("new_task", "again", **{"from": file.name})
    workspace.do("submit", task="again")
    said = workspace.do("tag", task="again", mode="live", wait=True).out
    assert (" left" in said, "Next: " in said) == (False, True), said
