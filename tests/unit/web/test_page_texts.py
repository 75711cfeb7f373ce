"""Messages of commands have no typed commands and settings on the page."""

import pytest

from pipeline.core.command_hint import CommandForm, CommandHint, current_form, set_command_form
from web.page_texts import describe_setting, to_html, to_plain_text, work_label


@pytest.mark.parametrize(
    ("message", "plain", "html"),
    [
        (
            "it is once it is answered: `make index TASK=reviews DATA=/tmp/a`",
            "it is once it is answered: “Search index”",
            'it is once it is answered: <a href="/search?task=a+b#index">Search index</a>',
        ),
        (
            "`make parked TASK=x` lists 2 <rows>; WHERE=… filters them",
            "“Parked rows” lists 2 <rows>; the setting “where” filters them",
            (
                '<a href="/?state=parked&amp;task=a+b">Parked rows</a> lists 2 &lt;rows&gt;; '
                "the setting “where” filters them"
            ),
        ),
        (
            "`findable rollback --task reviews --yes` takes it back",
            "“the command rollback” takes it back",
            "the command rollback takes it back",
        ),
        ("`BACKEND=local` in `.env`", "the setting “backend” in .env", None),
        (
            "WHERE cannot be read; write it like WHERE=\"stars > 3 AND tone = 'praise'\"",
            "the condition cannot be read; write it like “stars > 3 AND tone = 'praise'”",
            None,
        ),
        (
            "WHERE cannot be read; write it like `--where \"stars > 3 AND tone = 'praise'\"`",
            "the condition cannot be read; write it like “stars > 3 AND tone = 'praise'”",
            None,
        ),
        (
            """write it like --where '"na<me>" CONTAINS '"'"'word'"'"''""",
            """write it like “"na<me>" CONTAINS 'word'”""",
            None,
        ),
        (r'write it like WHERE="path = C:\"', r"write it like “path = C:\”", None),
        ("leave out --after", "leave out the setting “after”", None),
        ("a make of 5 stars = good", "a make of 5 stars = good", None),
    ],
)
def test_commands_become_places(message: str, plain: str, html: str | None) -> None:
    """A known command is a link, another one its name, and a setting its name."""
    assert to_plain_text(message) == plain
    rendered = to_html(message, "a b")
    assert "make " not in rendered or "make of" in rendered
    assert html is None or rendered == html


def test_command_of_any_program_becomes_a_place() -> None:
    """A page that Python started names no program."""
    form = current_form()
    set_command_form(CommandForm(program="/opt/py/bin/python -m findable"))
    try:
        message = f"{CommandHint('batches', data='/tmp/a')} lists all batches"  # noqa: S108
        assert to_plain_text(message) == "“Runs” lists all batches"
    finally:
        set_command_form(form)


def test_work_is_named_in_plain_words() -> None:
    """A command has a label without its task; other work is in plain words already."""
    assert work_label("tag-live reviews") == "asking the rows"
    assert work_label("cancel batch 3") == "cancel batch 3"


def test_settings_are_named_as_on_their_page() -> None:
    """The description of a setting names others without capitals and underscores."""
    assert describe_setting("the limit of CONFIRM_ABOVE; default: VERSION=, else all") == (
        "the limit of “confirm above”; default: the setting “version”, else all"
    )
