"""Variables of make are options of the commands, and questions accept a no."""

import pytest

from askrows.jobs.command import ClickCommand
from askrows.jobs.commands import ALL_COMMANDS
from askrows.pipeline.core.command_hint import PREFIX
from askrows.pipeline.core.settings import VARIABLES


@pytest.mark.parametrize("name", ALL_COMMANDS)
def test_every_variable_of_make_is_an_option_of_that_name(name: str) -> None:
    """Options are the variables of a command and all settings except keys."""
    entry = ALL_COMMANDS[name]
    settings = {
        variable.upper()
        for variable, names in VARIABLES.items()
        if names == (f"{PREFIX}{variable.upper()}",)
    }
    variables = {*entry.variables, *settings, "YES", "DEBUG", *(["JSON"] if entry.has_json else [])}
    assert {"DATA", "TASK", "MODEL", "DATABASE_URL"} <= variables
    command = ClickCommand(name, entry)
    options: list[str] = []
    for param in command.params:
        options += [*param.opts, *param.secondary_opts]

    expected_options = {f"--{variable.lower().replace('_', '-')}" for variable in variables}
    assert expected_options <= set(options)
    dashed_options = [option for option in options if option.startswith("-")]
    assert len(set(dashed_options)) == len(dashed_options)
