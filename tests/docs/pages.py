"""The generated parts of README.md and docs/, for cog: each function returns one."""

from dataclasses import fields
from textwrap import fill

import click

from jobs.commands import COMMANDS, Command
from pipeline.core.settings import PREFIX, VARIABLES, Settings, format_with_unit
from pipeline.core.states import BATCH_MOVES
from pipeline.experts.task import INDEXED_COLUMNS, index_entry
from tests.lab import ROOT

_STATES = {
    "prepared": "the request file is sealed and its rows are claimed",
    "asking": "the same, and live calls run; interrupted if no process has its lock",
    "submitting": "a create call was sent, or may have been sent",
    "submitted": "the remote name is known",
    "downloaded": "the result file, complete or partial, is sealed on disk",
    "ingested": "every request has an outcome",
    "failed": "ended without a result; its rows were released",
}


def example(name: str) -> str:
    """Return the file of a task in examples/, as a block."""
    return f"```python\n{(ROOT / 'examples' / name / 'tasks' / f'{name}.py').read_text(encoding='utf-8')}```"


def commands() -> str:
    """Return of each command what it does, and what it takes."""
    return "\n".join(_command(name, entry) for name, entry in COMMANDS.items())


def _command(name: str, entry: Command) -> str:
    """Return the line of one command: what it does, and the names of what it takes; capitals stand without a name."""
    shown = [one for one in entry.params if not getattr(one, "hidden", False)]
    names = [
        (str(one.envvar).removeprefix(PREFIX), isinstance(one, click.Argument)) for one in shown
    ]
    told = [
        f"`{name}`" if is_bare else f"`--{name.lower().replace('_', '-')}`"
        for name, is_bare in names
    ]
    return _filled(f"- **{name}**: {entry.summary} {' '.join(told)}".rstrip())


def _filled(text: str) -> str:
    """Return a paragraph in lines of 120 characters."""
    return fill(
        text,
        120,
        break_long_words=False,
        break_on_hyphens=False,
        subsequent_indent="  " * text.startswith("- "),
    )


RARE = frozenset(
    {
        *("models_file", "batch_rows", "batch_bytes", "batch_tokens", "accept_changed"),
        *(
            "create_timeout",
            "list_lag",
            "call_timeout",
            "retry_for",
            "retry_wait",
            "poll_first",
            "poll_most",
            "full",
        ),
        *("poll_patience", "refresh", "skip_versions"),
    }
)


def settings() -> str:
    """Return the list of settings with their defaults, and at the end those that few need, without what they are."""
    lines = []
    rare = []
    for one in (one for one in fields(Settings) if "help" in one.metadata):
        unit = one.metadata["unit"]
        default = ",".join(one.default) if isinstance(one.default, tuple) else one.default
        default = format_with_unit(str(default), unit) if unit and default is not None else default
        local = (
            ""
            if one.metadata["local"] is None
            else f"; local {format_with_unit(str(one.metadata['local']), unit)}"
        )
        shown = f" ({default}{local})" if default not in (None, "") else ""
        names = ", ".join(f"`{name}`" for name in VARIABLES[one.name])
        if one.name in RARE:
            rare.append(f"{names}{shown}")
        else:
            lines.append(f"- {names}{shown}: {one.metadata['help']}")
    return "\n".join([*lines, _filled(f"- Few need {', '.join(rare)}.")])


def moves() -> str:
    """Return the states of a batch and its moves."""
    moves_to = {
        old: f"; moves to {', '.join(sorted(new))}" if new else ""
        for old, new in BATCH_MOVES.items()
    }
    return "\n".join(f"- *{old}*: {_STATES[old]}{moves_to[old]}" for old in BATCH_MOVES)


def metadata() -> str:
    """Return the keys of an entry of metadata.json."""
    return ", ".join(f"`{key}`" for key in index_entry(*(None for _ in INDEXED_COLUMNS)).metadata)
