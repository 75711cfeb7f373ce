"""Return the generated parts of README.md and docs/, for cog."""

from dataclasses import fields
from textwrap import fill

import click

from askrows.jobs.commands import COMMANDS, Command
from askrows.pipeline.core.command_hint import PREFIX
from askrows.pipeline.core.settings import VARIABLES, Settings, format_number_with_unit
from askrows.pipeline.core.states import BATCH_MOVES
from askrows.pipeline.tasks.shipped import load_shipped_declaration
from tests.lab import ROOT

_STATES = {
    "prepared": "the request file is sealed and its rows are claimed",
    "asking": "the same, and live calls run; interrupted if no process has its lock",
    "submitting": "a create call was sent, or may have been sent",
    "submitted": "the remote name is known",
    "downloaded": "a complete or partial result file is sealed",
    "ingested": "every request has an outcome",
    "failed": "ended without a result; its rows were released",
}


def example(name: str) -> str:
    """Return the file of a task in examples/, as a block."""
    path = ROOT / "examples" / name / "tasks" / f"{name}.py"
    return f"```python\n{path.read_text(encoding='utf-8')}```"


def commands() -> str:
    """Return a table with the summary and the parameters of each command."""
    rows = [_describe_command(name, entry) for name, entry in COMMANDS.items()]
    return "\n".join(["| command | purpose | options |", "| --- | --- | --- |", *rows])


def _describe_command(name: str, entry: Command) -> str:
    """Return the table row of a command, with its visible parameters."""
    parameters = [
        f"`{_describe_parameter(param)}`"
        for param in entry.params
        if not getattr(param, "hidden", False)
    ]
    # A bar would end the cell.
    parameter_text = " ".join(parameters).replace("|", "\\|")
    return f"| **{name}** | {entry.summary} | {parameter_text} |"


def _describe_parameter(param: click.Parameter) -> str:
    """Return an option with its default, else with its unit; an argument is in capitals."""
    name = str(param.envvar).removeprefix(PREFIX)
    if isinstance(param, click.Argument):
        return name

    option = f"--{name.lower().replace('_', '-')}"
    if isinstance(param.type, click.types.BoolParamType):
        return option
    if not param.required and param.default not in (None, ""):
        return f"{option}={param.default}"
    if isinstance(param.type, click.Choice):
        return f"{option}={'|'.join(param.type.choices)}"
    return f"{option}={param.metavar or param.type.name.upper()}"


def _fill_paragraph(text: str) -> str:
    """Return a paragraph or list entry in lines of 100 characters."""
    indent = "  " if text.startswith("- ") else ""
    return fill(text, 100, break_long_words=False, break_on_hyphens=False, subsequent_indent=indent)


RARE_SETTINGS = frozenset(
    {
        "models_file",
        "batch_rows",
        "batch_bytes",
        "batch_tokens",
        "create_timeout",
        "list_lag",
        "call_timeout",
        "retry_for",
        "retry_wait",
        "poll_first",
        "poll_most",
        "poll_patience",
        "refresh",
        "skip_versions",
    }
)


def settings() -> str:
    """Return a table of the settings; rare settings follow it, without a description."""
    lines = ["| setting | default | meaning |", "| --- | --- | --- |"]
    rare_settings = []
    for setting in (field for field in fields(Settings) if "help" in field.metadata):
        unit = setting.metadata["unit"]
        default = setting.default
        if isinstance(default, tuple):
            default = ",".join(default)
        default = (
            format_number_with_unit(str(default), unit) if unit and default is not None else default
        )
        local = ""
        if setting.metadata.get("local") is not None:
            local = f"; local {format_number_with_unit(str(setting.metadata['local']), unit)}"

        default_text = f"{default}{local}" if default not in (None, "", False) else ""
        names = ", ".join(f"`{name}`" for name in VARIABLES[setting.name])
        if setting.name in RARE_SETTINGS:
            rare_settings.append(f"{names} ({default_text})" if default_text else names)
        else:
            lines.append(f"| {names} | {default_text} | {setting.metadata['help']} |")
    return "\n".join([*lines, "", _fill_paragraph(f"Rarely needed: {', '.join(rare_settings)}.")])


def moves() -> str:
    """Return the states of a batch and its moves."""
    moves_to = {
        old: f"; moves to {', '.join(sorted(new))}" if new else ""
        for old, new in BATCH_MOVES.items()
    }
    return "\n".join(
        _fill_paragraph(f"- *{old}*: {_STATES[old]}{moves_to[old]}") for old in BATCH_MOVES
    )


def metadata() -> str:
    """Return the keys of an entry of metadata.json."""
    declaration = load_shipped_declaration("experts")
    keys = [] if declaration is None else ["id", *(declaration.metadata or ())]
    return _fill_paragraph(", ".join(f"`{key}`" for key in keys))
