"""Commands print tables and fields for people and for programs."""

import pytest

from jobs import output


def test_a_table_in_a_pipe_is_parted_by_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    """Cells have no padding, and their tabs and line ends become spaces."""
    output.print_table(("a", "long header"), [("1\t2", "x\ny"), ("wide cell", "")])
    assert capsys.readouterr().out == "a\tlong header\n1 2\tx y\nwide cell\t\n"


def test_fields_fit_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long text is wrapped, its line ends stay, and brackets are not markup."""
    fields = [("Bio", "I build boats. " * 8 + "\n\n[bold]And[/] I teach\x1b[2J."), ("x", "y" * 70)]
    output.print_fields(fields)
    assert len(capsys.readouterr().out.splitlines()) == 2
    output.print_fields([("a name of many letters", "its value")])
    assert capsys.readouterr().out == "a name of many letters its value\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    output.print_fields(fields)
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 40
    assert "     [bold]And[/] I teach [2J." in [line.rstrip() for line in lines]
    assert sum("yyy" in line for line in lines) == 2


def test_a_username_is_never_folded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users copy usernames from tables, so other columns are wrapped instead."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "50")
    name = "eleuterio-campoverde-ruz"
    output.print_table(
        ("username", "title"), [(name, "Ingeniero de estructuras y de muchas otras cosas")]
    )
    assert any(line.startswith(f"{name} ") for line in capsys.readouterr().out.splitlines())
