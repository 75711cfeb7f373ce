"""Carry out a command of the table: typed on a command line, or asked for by a page."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from jobs.commands import EVERY, Command
from jobs.options import CommandReport, NamedArgument
from jobs.output import Terminal, print_all, print_json, printable
from jobs.variables import (
    KEPT,
    SETTINGS,
    begin_form,
    check_variables,
    given_option,
    nearest,
    read_settings,
    typed_variable,
)
from pipeline.core import trust
from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.core.settings import BUILT_IN_TASKS, FLAGS, PREFIX, Settings, read_dotenv

if TYPE_CHECKING:
    from pipeline.engine.session import WorkspaceSession
    from web.app_state import PageCommand

WENT_ON = "findable_went_on"  # in a context: whether a question was answered with yes
DUMMY = click.Context(click.Command("page"))  # in which values of a form are read


class ClickCommand(click.Command):
    """A command of the table as click has it, with the options that all have."""

    def __init__(self, name: str, entry: Command) -> None:
        self.entry = entry
        params = [*entry.params, *_of_all(has_json=entry.has_json)]
        params += [param.option for param in entry.params if isinstance(param, NamedArgument)]
        taken = {option for param in params for option in param.opts} | {
            param.name for param in entry.params
        }
        settings = (
            setting
            for setting in map(_setting_option, SETTINGS)
            if not taken & {setting.name, *setting.opts}
        )
        super().__init__(name, params=[*params, *settings], help=entry.function.__doc__)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line, `.env` beneath the environment; where a value is missing, say how make takes it.

        Raises:
            InputError: a variable is not known.
        """
        dotenv = read_dotenv()
        check_variables(self.entry, os.environ, dotenv)
        named = {
            one.name: dotenv.get(PREFIX + variable)
            for variable, one in self.entry.variables.items()
        }
        ctx.default_map = {name: value for name, value in named.items() if name and value}
        try:
            return super().parse_args(ctx, args)
        except click.MissingParameter as error:
            if error.param is None or not isinstance(error.param.envvar, str):
                raise
            said = f"With make: {error.param.envvar.removeprefix(PREFIX)}=…"
            raise click.MissingParameter(said, ctx=error.ctx, param=error.param) from None

    def invoke(self, ctx: click.Context) -> None:
        """Run the command, and print what it ends with."""
        if self.entry.task and not self.entry.task_option and not self.entry.access:
            ctx.meta[KEPT["task"]] = self.entry.task
        trust.ask_with(ask_person)
        report = carry_out(self.entry, ctx.params)
        if report is None:
            return
        if wants_json():
            print_json(report.document)
        else:
            print_all(report.output)
        if report.check is not None:
            report.check()
        if report.hint:
            Terminal().hint(str(report.hint))


def _of_all(*, has_json: bool) -> list[click.Parameter]:
    known: dict[str, dict[str, Any]] = {
        "json": {"is_flag": True, "help": "Print one JSON document, and nothing else."},
        "yes": {"is_flag": True, "help": "Answer yes to every question."},
        "debug": {"is_flag": True, "help": "Show tracebacks."},
        "data": {"metavar": "FOLDER", "help": "The workspace."},
        "task": {"metavar": "NAME", "help": "passages, images, or your own."},
    }
    return [
        click.Option(
            [f"--{name}"],
            callback=_keep,
            expose_value=False,
            envvar=PREFIX + name.upper()
            if "is_flag" in given
            else None,  # the others are settings, which say it
            **given,
        )
        for name, given in known.items()
        if has_json or name != "json"
    ]


def _setting_option(name: str) -> click.Option:
    """Return the option that stands above a setting, which no help lists: docs/configuration.md does."""
    value = "1" if name in FLAGS else None
    names = [f"--{name.replace('_', '-')}", name]
    return click.Option(
        names,
        flag_value=value,
        is_flag=bool(value),
        callback=_keep,
        expose_value=False,
        hidden=True,
    )


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep what was given of an option that all commands have: the folder and the task stand above the settings."""
    if value:
        ctx.meta[KEPT[str(param.name)]] = value
        begin_form(ctx.info_name or "")


def carry_out(entry: Command, options: Mapping[str, Any]) -> CommandReport | None:
    """Run a command with its options, on the workspace that the settings name.

    Raises:
        InputError: a task was typed that is not the one that the command is about.
    """
    given = {**options, **entry.fixed_options}
    if not entry.access:
        return entry.function(**given)  # type: ignore[no-any-return]
    task = entry.task if not entry.task_option or given.get(entry.task_option) else None
    typed = given_option("task") or (typed_variable("TASK") and os.environ.get(f"{PREFIX}TASK"))
    if task and typed and typed != task:
        how = (
            f"{OptionHint('item')} names one of {typed}"
            if entry.task_option
            else f"leave out {OptionHint('task')}"
        )
        raise InputError(f"this is about {task}, and not about {typed}; nothing was done", hint=how)
    several = entry.is_whole_workspace or entry.may_span_tasks
    with opened(
        _access(entry, given), task=task, whole=entry.is_whole_workspace, may_be_several=several
    ) as ws:
        return entry.function(ws, **given)  # type: ignore[no-any-return]


def _access(entry: Command, given: Mapping[str, Any]) -> str:
    if any(given.get(name) is not None for name in entry.write_options):
        return "write"
    return entry.dry_access if entry.dry_access and given.get("dry") else entry.access


@contextlib.contextmanager
def opened(
    access: str,
    *,
    settings: Settings | None = None,
    task: str | None = None,
    whole: bool = False,
    may_be_several: bool = False,
) -> "Iterator[WorkspaceSession]":
    """Open the workspace that the settings name, for the length of a block; see `Command` for `access`.

    To look is to see what would be written, in a temporary workspace where there is none; see `open_to_look`.
    """
    from pipeline.engine.access import Access
    from pipeline.engine.open_workspace import open_to_look, open_workspace
    from pipeline.engine.task_selection import with_default_task

    settings = settings or read_settings()
    display = Terminal()
    if task:
        settings = replace(settings, task=task, sources={**settings.sources, "task": "the command"})
    elif access != "create":
        settings = with_default_task(settings, may_be_several=may_be_several)
    is_own = settings.task not in BUILT_IN_TASKS
    if access == "look" and (task or is_own):
        with open_to_look(settings, display, agrees=confirmed) as ws:
            yield ws
        return
    access = {"sync": "write" if is_own else "read", "look": "read"}.get(access, access)
    with open_workspace(
        settings, display, access=Access(access), agrees=confirmed, whole=whole
    ) as ws:
        yield ws


def wants_json() -> bool:
    """Return whether this command is to print one document, and nothing else; a page wants nothing printed, either."""
    context = click.get_current_context(silent=True)
    return context is None or bool(context.meta.get(KEPT["json"]))


def says_yes() -> bool:
    """Return whether `--yes` answers every question of this command."""
    return bool(click.get_current_context().meta.get(KEPT["yes"]))


def confirmed(question: str) -> bool:
    """Ask a person at a terminal; `--yes` answers, and without a terminal the answer is no.

    A person's no ends the command, with exit code 0.
    """
    if says_yes():
        click.get_current_context().meta[WENT_ON] = True
        return True
    return ask_person(question)


def ask_person(question: str) -> bool:
    """Ask a person at a terminal, whatever `--yes` says; without a terminal the answer is no.

    A thread of the page has no terminal. A person's no ends the command, with exit code 0.
    """
    context = click.get_current_context(silent=True)
    if context is None or not sys.stdin.isatty():
        return False
    if click.confirm(printable(question), err=True):
        context.meta[WENT_ON] = True
        return True
    Terminal().say(
        "nothing more was changed" if context.meta.get(WENT_ON) else "nothing was changed"
    )
    raise click.exceptions.Exit(0)


def options_from(entry: Command, form: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of a command from texts by their names; what is empty is as if it was not given.

    Raises:
        InputError: one is unknown, missing, or not what it should be; `field` names it.
    """
    known = {
        name: one
        for variable, one in entry.variables.items()
        if (name := variable.lower()) not in entry.local_options
    }
    values = {
        str(one.name): None if one.required else one.get_default(DUMMY) for one in entry.params
    }
    for name, text in form.items():
        if name not in known:
            meant = nearest(name, known)
            hint = (
                f"did you mean {meant}?" if meant else f"it takes {', '.join(known) or 'nothing'}"
            )
            raise InputError(
                f"there is no option {name!r}; nothing was done", hint=hint, field=name
            )
        one = known[name]
        if not text:
            continue
        try:
            values[str(one.name)] = one.type_cast_value(
                DUMMY, text.split() if one.nargs == -1 else text
            )
        except click.BadParameter as error:
            raise InputError(f"{name}: {error.message}; nothing was done", field=name) from None
    if lacking := [
        name for name, one in known.items() if one.required and values[str(one.name)] is None
    ]:
        raise InputError(f"{lacking[0]} is missing; nothing was done", field=lacking[0])
    return {name: value for name, value in values.items() if name not in entry.fixed_options}


def acts() -> "dict[str, PageCommand]":
    """Return what a page may carry out, by the names of the commands."""
    return {name: _act(entry) for name, entry in EVERY.items() if entry.page_access}


def _act(entry: Command) -> "PageCommand":
    from web.app_state import PageCommand

    def writes(form: Mapping[str, str], task: str) -> bool:
        access = _access(entry, {**options_from(entry, form), **entry.fixed_options})
        return access == "write" or (access in {"sync", "look"} and task not in BUILT_IN_TASKS)

    def run(ws: "WorkspaceSession", form: Mapping[str, str]) -> Any:
        report = entry.function(ws, **options_from(entry, form), **entry.fixed_options)
        if report.check is not None:
            report.check()
        return report.document

    return PageCommand(entry.page_access == "read", writes, run)
