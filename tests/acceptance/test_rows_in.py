"""Test that each row of a table is read unchanged, or refused with its line.

Guesses are shown.
"""

import json

import pytest

from tests.acceptance.engine import Engine
from tests.acceptance.product import Workspace
from tests.acceptance.table_files import put_book

FRENCH_TABLE = "id;text\n1;Café fermé à 18 h, très déçu\n"
TITLED_TABLE = "Report of May\n\nid,text,city\n1,The boat was late,Rome\n2,It was on time,Oslo\n"
TABLE_WITHOUT_HEADER = "1,The boat was late\n2,On time\n3,Never came\n"


def read_texts(workspace: Workspace) -> list[str]:
    """Return the exported texts of the task's rows, except refused rows."""
    return [row["text"] for row in workspace.exported_rows() if row["state"] != "refused"]


@pytest.mark.alike
def test_encoding_is_guessed_shown_and_can_be_named(workspace: Workspace, api: Engine) -> None:
    """A guessed encoding is shown with an example line, and ENCODING= is stored with the task."""
    french_file = workspace.write_file("fr.csv", "")
    french_text = FRENCH_TABLE.split(";")[2].strip()
    french_file.write_bytes(FRENCH_TABLE.encode("cp1252"))

    ask_run = workspace.run_command("ask", "fr.csv", q="Praise?", fields="topic", json=True)
    assert "Café fermé à 18 h, très déçu" in json.dumps(ask_run.json["tried"], ensure_ascii=False)
    assert "read as cp1252" in ask_run.stderr
    workspace.run_command("ask", "fr.csv", q="x?", encoding="klingon", code=2)
    source_file = {"from": "fr.csv"}
    workspace.run_command("new_task", "fr", encoding="utf-8", code=2, **source_file)

    # The named encoding is used although another encoding fits better.
    workspace.run_command("new_task", "fr", encoding="mac_roman", **source_file)
    workspace.task = "fr"
    workspace.run_command("preflight")
    assert read_texts(workspace) == [french_text.encode("cp1252").decode("mac_roman")]
    french_file.write_bytes(FRENCH_TABLE.encode("mac_roman"))
    workspace.run_command("preflight")
    assert read_texts(workspace) == [french_text]

    people_table = "username,bio\nzoë,Elle était gênée\n"
    workspace.write_file("people.csv", "").write_bytes(people_table.encode("cp1252"))
    workspace.run_command("import", "people.csv", TASK="")
    assert [*workspace.exported_tags()] == ["zoë"]
    workspace.run_command("import", "people.csv", encoding="cp1257", TASK="")
    assert [*workspace.exported_tags()] == ["zoë", "zoė"]
    assert api.journal()


@pytest.mark.alike
def test_table_without_a_header_is_refused_and_header_can_be_named(
    workspace: Workspace, api: Engine
) -> None:
    """A table without a header in line 1 is refused with its first lines and a next step.

    Each command accepts HEADER=, and a task stores it.
    """
    _check_titled_files_need_a_header(workspace)

    workspace.run_command("ask", "unnamed.csv", q="x?", code=2)
    workspace.run_command("new_task", "boats", header="none", **{"from": "unnamed.csv"})
    workspace.task = "boats"
    workspace.run_command("preflight")
    column_texts = [row["column_2"] for row in workspace.exported_rows()]
    assert column_texts == ["The boat was late", "On time", "Never came"]

    workspace.write_file("people.csv", "All people\n\nusername,bio,city\nada,Keeps bees,Rome\n")
    assert "--header 3" in workspace.run_command("import", "people.csv", code=2, TASK="").stderr
    workspace.run_command("import", "people.csv", header=3, TASK="")
    workspace.write_file("bare.csv", "bo,Casts bells\n")
    mapping = "username=column_1,bio=column_2"
    workspace.run_command("import", "bare.csv", header="none", map=mapping, TASK="")
    assert [*workspace.exported_tags()] == ["ada", "bo"]

    for header in ("9", "two"):
        workspace.run_command("ask", "titled.csv", q="x?", header=header, code=2)
    assert api.journal()


def _check_titled_files_need_a_header(workspace: Workspace) -> None:
    """Check that files with a title above the header are read only with HEADER=3."""
    workspace.write_file("titled.csv", TITLED_TABLE)
    workspace.write_file("unnamed.csv", TABLE_WITHOUT_HEADER)
    rows = [line.split(",") for line in TITLED_TABLE.split("\n")]
    put_book(workspace.home / "plain.xlsx", {"A": rows})
    put_book(
        workspace.home / "merged.xlsx",
        {"A": rows},
        merge=lambda sheet: sheet.merge_range(0, 0, 0, 2, "Report of May"),
    )

    for name in ("titled.csv", "plain.xlsx", "merged.xlsx"):
        error_output = workspace.run_command("ask", name, q="Praise?", code=2).stderr
        assert "the header is on line 3, below a title; nothing was read" in error_output

        document = workspace.read_json("ask", name, q="Praise?", header=3)
        assert (document["key"], document["text"], document["rows"]) == ("id", "text", 2)


def test_dry_import_needs_no_workspace_and_makes_none(workspace: Workspace) -> None:
    """A dry import runs in a new folder, and in a folder that only has files of the user."""
    table = workspace.write_file("people.csv", "Username,Bio\nada,Bees.\n")
    assert "1 added" in workspace.run_command("import", table, dry=True).stdout

    # The sample data of a fresh checkout are such files.
    workspace.write_file("data/sample/people.csv", "Username,Bio\n")
    assert "1 added" in workspace.run_command("import", table, dry=True).stdout
    assert sorted(path.name for path in workspace.data.iterdir()) == ["sample"]
