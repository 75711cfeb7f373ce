"""Sources that lose rows, columns or names: the stored answers stay, and nothing gone is asked."""

import pytest

from tests.acceptance.database import connect, run_sql
from tests.acceptance.product import ON_POSTGRESQL, Workspace, write_declaration
from tests.outside.answers import user_text
from tests.outside.server import Outside

QUERY = "SELECT id, text FROM notes WHERE done IS NULL"
LONG_NAME = "Would you recommend the new ferry to your friends, family or to nobody? "


@pytest.fixture(name="notes")
def _notes(workspace: Workspace) -> Workspace:
    """Return a workspace with the task `notes` over a CSV file; answers are placeholders."""
    workspace.task = "notes"
    workspace.settings["YES"] = "1"
    workspace.write_file(
        "tasks/notes.py",
        write_declaration({"topic": "str"}, prompt="{text}", items="notes.csv"),
    )
    return workspace


def tag(workspace: Workspace) -> None:
    """Ask about all open rows."""
    workspace.run_command("tag", mode="live")


def test_query_without_rows_keeps_its_answers(workspace: Workspace) -> None:
    """The key stays a number; `export GONE=1` writes the rows, and `try` asks about none."""
    workspace.task = "notes"
    workspace.settings["YES"] = "1"
    workspace.run_command("import", workspace.write_file("people.csv", "Username\nada\n"), TASK="")
    run_sql(workspace, "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, done INTEGER)")
    run_sql(workspace, "INSERT INTO notes VALUES (1, 'bees', NULL), (2, 'wax', NULL)")
    workspace.write_file(
        "tasks/notes.py", write_declaration({"topic": "str"}, prompt="{text}", items=QUERY)
    )
    tag(workspace)
    run_sql(workspace, "UPDATE notes SET done = 1")
    tag(workspace)

    assert workspace.next_command() == ["export", "notes-answers.csv", "--task", "notes", "--gone"]
    message = workspace.run_command("export", "all.csv").stderr
    assert "GONE=1" in message or "--gone" in message
    assert not (workspace.home / "all.csv").exists()
    exported_rows = workspace.exported_rows(gone=True)
    assert [(row["id"], row["state"]) for row in exported_rows] == [(1, "gone"), (2, "gone")]
    assert all(row["topic"] for row in exported_rows)
    calls = len(workspace.logged_requests())
    workspace.try_command("try", n=2)
    assert len(workspace.logged_requests()) == calls

    run_sql(workspace, "UPDATE notes SET done = NULL WHERE id = 2")
    tag(workspace)
    assert workspace.state_counts()["answered"] == 1


def test_renamed_column_disappears(notes: Workspace) -> None:
    """Exports and lists have the present columns, also if a former prompt named others."""
    for name in ("spot", "place", "area"):
        notes.write_file("tasks/notes.csv", f"id,{name},text\n1,hall,bees\n2,lawn,wax\n")
        tag(notes)
    (row, _) = notes.exported_rows()
    assert list(row)[:3] == ["id", "area", "text"]
    assert not {"spot", "place"} & row.keys()

    notes.write_file("tasks/notes.csv", "id,area,words\n1,hall,bees\n2,lawn,wax\n")
    notes.write_file(
        "tasks/notes.py",
        write_declaration(
            {"topic": "str"}, prompt="{words}", items="notes.csv", extra_arguments=["version=2"]
        ),
    )
    tag(notes)
    assert list(notes.exported_rows()[0])[:3] == ["id", "area", "words"]


def test_long_names_are_cut_in_views_of_postgresql_only(notes: Workspace) -> None:
    """Names with equal beginnings stay apart."""
    names = [f"{LONG_NAME}{word}" for word in ("food", "staff")]
    notes.write_file(
        "tasks/notes.csv", f'id,text,"{names[0]}","{names[1]}"\n1,bees,yes,no\n2,wax,no,no\n'
    )
    tag(notes)
    assert notes.exported_rows()[0].keys() >= set(names)
    with connect(notes) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT * FROM notes_answered ORDER BY id")
        view_names = [column[0] for column in cursor.description]
        row = dict(zip(view_names, cursor.fetchone(), strict=True))
    if ON_POSTGRESQL:
        names = [name for name in view_names if name.startswith(LONG_NAME[:40])]
        assert max(len(name.encode()) for name in names) < 64
    assert [row[name] for name in names] == ["yes", "no"]


def test_row_without_its_text_is_empty(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Other columns of the prompt are not enough, for `ask` and with `quotes_in`."""
    asked_texts = []

    def answer(request: dict[str, object]) -> dict[str, object]:
        asked_texts.append(user_text(request))
        return {"topic": "bees"}

    outside_server.answerer = answer
    served_workspace.settings["YES"] = "1"
    served_workspace.write_file("letters.csv", "id,place,letter\n1,hall,I keep bees\n2,lawn,\n")
    served_workspace.run_command(
        "ask", "letters.csv", q="What?", fields="topic: text", text="letter", name="mail", n=5,
        **{"with": "place"},
    )  # fmt: skip
    served_workspace.task = "mail"
    served_workspace.run_command("tag", mode="live")
    assert len(asked_texts) == 1
    assert served_workspace.state_counts()["empty"] == 1
