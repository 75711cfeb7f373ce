"""Files with foreign headers: columns of people, and the guessed columns of other tables."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from askrows.jobs.cli import main

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs `askrows` on the local backend in a workspace of the test."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"ASKROWS_DATA": "data", "ASKROWS_BACKEND": "local"}.items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize(
    ("header", "rows", "names"),
    [
        (
            "User,Full name",
            ["a,Ana Maria Berg", 'b,"Silva, Rui"', "c,Teller"],
            {"a": ("Ana Maria", "Berg"), "b": ("Rui", "Silva"), "c": ("Teller", None)},
        ),
        ("User;Name;Vorname", ["d;Berg;Anna"], {"d": ("Anna", "Berg")}),
        (
            "User,Last Name,Full name",
            ['e,Berg,"Berg, Anna"', "f,Berg,Anna Berg", "g,Smith,Smith", "h,Smith,Bob SMITH"],
            {
                "e": ("Anna", "Berg"),
                "f": ("Anna", "Berg"),
                "g": (None, "Smith"),
                "h": ("Bob", "Smith"),
            },
        ),
        (
            "User,Full name,First Name",
            ["a,Madonna,Madonna", "b,john smith,John", 'd,"Li, WEI",Wei'],
            {"a": ("Madonna", None), "b": ("John", "smith"), "d": ("Wei", "Li")},
        ),
    ],
)
def test_full_name_is_split_and_no_name_is_doubled(
    run: Run, header: str, rows: list[str], names: dict[str, tuple[str | None, str | None]]
) -> None:
    """A comma separates last and first name; otherwise the last name is the last word.

    A given name is compared without case, and a name next to a first name is the last name.
    """
    Path("people.csv").write_text("\r\n".join([header, *rows, ""]), encoding="utf-8", newline="")
    stderr = run("import", "people.csv").stderr
    records = json.loads(run("export", "-", "--format", "json").stdout)
    stored = {row["Username"]: (row["First Name"], row["Last Name"]) for row in records}
    assert stored == names
    assert ("Name → Full name" in stderr) == header.startswith("User;")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "id,name,start date|1,New stone steps at the old ferry pier,2027-03-01|2,Lamp,No date",
            "name (longest",
        ),
        (
            "title,url,said|A,https://a.example/long/1,It rattles|B,b@c.d,No",
            "said (longest on aver",
        ),
        (
            "id,day,price,note to us|1,2026-01-02,12.50,|2,2026-01-03,9,ok",
            "the longest: 'day' (10 ",
        ),
        ("name,age|Ada,1|Alan Turing,1", "name (longest on average, 7 characters)"),
    ],
)
def test_text_is_the_longest_column_by_its_filled_cells(run: Run, table: str, message: str) -> None:
    """Any column but the usual key can be the text, and a doubtful guess is refused."""
    Path("table.csv").write_text(table.replace("|", "\n"), encoding="utf-8")
    result = run("new-task", "mine", "--from", "table.csv")
    assert message in result.stderr
    assert result.exit_code == (2 if "the longest:" in message else 0)


@pytest.mark.parametrize(
    ("rows", "declared_key", "hint"),
    [
        ([{"nr": 1, "text": "It drips"}], "id", "give the key its old name in the source"),
        ([{"id": 1.5, "text": "It drips"}], "id", 'CAST("id" AS BIGINT) AS "id"'),
        ([{"id": 1, "nr": 1, "text": "It drips"}], "nr", "its former name and kind, id (integer)"),
    ],
)
def test_key_of_a_used_task_is_kept(
    run: Run, rows: list[dict[str, object]], declared_key: str, hint: str
) -> None:
    """The hint about a changed key keeps the answers, instead of asking about all rows again."""
    Path("table.jsonl").write_text(json.dumps({"id": 1, "text": "It drips"}), encoding="utf-8")
    run("new-task", "mine", "--from", "table.jsonl")
    assert run("tag", "--task", "mine", "--dry").exit_code == 0

    Path("table.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    task_file = Path("tasks/mine.py")
    task_file.write_text(task_file.read_text().replace('"id"', f'"{declared_key}"'))
    result = run("tag", "--task", "mine", "--dry")
    assert result.exit_code != 0
    assert hint in result.stderr
