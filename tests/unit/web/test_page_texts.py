"""Messages of commands have no typed commands and settings on the page."""

import pytest

from askrows.pipeline.core.command_hint import (
    CommandForm,
    CommandHint,
    get_command_form,
    set_command_form,
)
from askrows.web.page_texts import (
    quote_setting_names,
    to_html,
    to_plain_text,
)


@pytest.mark.parametrize(
    ("message", "plain", "html"),
    [
        (
            "it is once it is answered: `make index TASK=reviews DATA=/tmp/a`",
            "it is once it is answered: “Prepare the search”",
            'it is once it is answered: <a href="/search?task=a+b#index">Prepare the search</a>',
        ),
        (
            "`make parked TASK=x` lists 2 <rows>; WHERE=… filters them",
            "“Rows set aside” lists 2 <rows>",
            '<a href="/?task=a+b&amp;state=parked">Rows set aside</a> lists 2 &lt;rows&gt;',
        ),
        (
            "batch 3 of a is not over; `askrows batch-cancel 3 --data /x` cancels it",
            "batch 3 of a is not over; “Runs” cancels it",
            'batch 3 of a is not over; <a href="/runs?task=a+b">Runs</a> cancels it',
        ),
        (
            "nothing was stored; `askrows rollback --task reviews --yes` takes it back",
            "nothing was stored",
            "nothing was stored",
        ),
        ("`askrows rollback --yes` takes it back", "“rollback” takes it back", None),
        ("the file has no line 9; set HEADER=3", "the file has no line 9", None),
        ("check GEMINI_API_KEY and its project", "check the API key and its project", None),
        ("CALL_TIMEOUT= is no number", "“call timeout” is no number", None),
        (
            "WHERE cannot be read; write it like WHERE=\"stars > 3 AND tone = 'praise'\"",
            "the condition cannot be read",
            None,
        ),
        ("/srv/a/b/reviews.csv is empty", "reviews.csv is empty", "reviews.csv is empty"),
        ("a make of 5 stars = good", "a make of 5 stars = good", None),
    ],
)
def test_commands_become_places(message: str, plain: str, html: str | None) -> None:
    """A known command is a place; settings and other commands are left out with their clauses."""
    assert to_plain_text(message) == plain
    rendered = to_html(message, "a b")
    assert "make " not in rendered or "make of" in rendered
    assert html is None or rendered == html


def test_command_of_any_program_becomes_a_place() -> None:
    """A page that Python started names no program."""
    form = get_command_form()
    set_command_form(CommandForm(program="/opt/py/bin/python -m askrows"))
    try:
        message = f"{CommandHint('batches', data='/tmp/a')} lists all batches"  # noqa: S108
        assert to_plain_text(message) == "“Runs” lists all batches"
    finally:
        set_command_form(form)


def test_settings_are_named_as_on_their_page() -> None:
    """The description of a setting names others without capitals and underscores."""
    assert quote_setting_names("the limit of CONFIRM_ABOVE; default: VERSION=, else all") == (
        "the limit of “confirm above”; default: “version”, else all"
    )
