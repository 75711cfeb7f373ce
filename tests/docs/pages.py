"""The generated parts of README.md and docs/, for cog: each function returns one."""

import inspect
from collections import defaultdict
from dataclasses import fields
from textwrap import fill

import click

from jobs.cli import main
from jobs.commands import COMMANDS
from pipeline.core.settings import PREFIX, VARIABLES, Settings, with_unit
from pipeline.core.states import BATCH_MOVES
from pipeline.experts.task import index_entry
from tests.lab import ROOT

TOLD = {
    **dict.fromkeys(("items", "tags", "preflight", "tag", "batch-submit"), "operations.md"),
    **dict.fromkeys(("ask", "new-task", "try"), "own-tasks.md"),
    "emulator": "local-engine.md",
    "import": "data.md",
    "qc": "subjects.md",
    "search": "search.md",
    "web": "web.md",
}
"""The commands whose options another page tells of, by their names after make."""
_STATES = {
    "prepared": "the request file is sealed and its items are claimed",
    "asking": "so, and our own calls ask its lines; dead where nobody holds its lock",
    "submitting": "a create call was, or may have been, sent",
    "submitted": "the remote name is known",
    "downloaded": "the result, whole or partial, is sealed on disk",
    "ingested": "every request is accounted for",
    "failed": "over without a result; its items were let go",
}


def example(name: str) -> str:
    """Return the file of a task in examples/, as a block."""
    return f"```python\n{(ROOT / 'examples' / name / 'tasks' / f'{name}.py').read_text(encoding='utf-8')}```"


def commands() -> str:
    """Return of each command its first line, its arguments as make has them, and its options."""
    return "\n".join(f"## {name}\n\n{_command(command)}\n" for name, command in found().items())


def found() -> dict[str, click.Command]:
    """Return every command by its name."""
    all_of_them = {name: main.get_command(click.Context(main), name) for name in COMMANDS}
    return {name: command for name, command in all_of_them.items() if command is not None}


def _command(command: click.Command) -> str:
    """Return what the page says of a command; its options by name alone where another page tells of them."""
    told = " ".join(inspect.cleandoc(command.help or "").split("\n\n")[0].split())
    arguments = " ".join(_argument(command, one) for one in command.params if isinstance(one, click.Argument))
    options = [_option(one) for one in own_options(command)]
    page = TOLD.get(command.name or "")
    named = ", ".join(f"`{one.split('`')[1]}`" for one in options)
    rest = f"{named}: [{page.partition('.')[0]}]({page})" if page and named else " ".join(options)
    return "\n\n".join(map(_filled, filter(None, (f"{arguments}: {told}" if arguments else told, rest))))


def _filled(text: str) -> str:
    """Return a paragraph in lines of 120 characters."""
    return fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _argument(command: click.Command, one: click.Argument) -> str:
    """Return an argument with the variable that it is after make."""
    variables = [one.envvar] if isinstance(one.envvar, str) else one.envvar or []
    after_make = " or ".join(f"`{variable.removeprefix(PREFIX)}=`" for variable in variables)
    return f"{one.make_metavar(click.Context(command))} ({after_make})"


def own_options(command: click.Command) -> list[click.Option]:
    """Return the options of a command but those that the page tells of once for all."""
    told = ("data", "debug", "as_json", "yes", "task")
    return [one for one in command.params if isinstance(one, click.Option) and not one.hidden and one.name not in told]


def _option(one: click.Option) -> str:
    """Return an option with its choices and its help."""
    kind = f" ({', '.join(one.type.choices)})" if isinstance(one.type, click.Choice) else ""
    return f"`{'/'.join([*one.opts, *one.secondary_opts])}`{kind} {one.help or ''}".rstrip()


def settings() -> str:
    """Return the list of settings with their defaults."""
    lines = []
    for one in (one for one in fields(Settings) if "help" in one.metadata):
        unit = one.metadata["unit"]
        default = ",".join(one.default) if isinstance(one.default, tuple) else one.default
        default = with_unit(str(default), unit) if unit and default is not None else default
        local = "" if one.metadata["local"] is None else f"; local {with_unit(str(one.metadata['local']), unit)}"
        shown = f" ({default}{local})" if default not in (None, "") else ""
        names = ", ".join(f"`{name}`" for name in VARIABLES[one.name])
        lines.append(f"- {names}{shown}: {one.metadata['help']}")
    return "\n".join(lines)


def moves() -> str:
    """Return the states of a batch and its moves."""
    moves_to = {old: f"; moves to {', '.join(sorted(new))}" if new else "" for old, new in BATCH_MOVES.items()}
    return "\n".join(f"- *{old}*: {_STATES[old]}{moves_to[old]}" for old in BATCH_MOVES)


def metadata() -> str:
    """Return the keys of an entry of metadata.json."""
    return ", ".join(f"`{key}`" for key in index_entry(defaultdict(lambda: None)).metadata)
