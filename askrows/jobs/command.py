"""Run a command of the table, typed on a command line or requested by a page."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from askrows.jobs.commands import ALL_COMMANDS, Command
from askrows.jobs.options import POSITIONAL_ARGUMENT_KEY, NamedArgument
from askrows.jobs.output import Terminal, make_printable, print_json, print_report_as_text
from askrows.jobs.variables import (
    CONTEXT_KEYS,
    OPTION_SETTINGS,
    check_variables_are_known,
    read_make_variables,
    read_settings,
    read_typed_settings,
    set_hint_form,
)
from askrows.pipeline.core import trust
from askrows.pipeline.core.command_hint import PREFIX, OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.report import Report, raise_first_and_warn_of_others
from askrows.pipeline.core.settings import BUILT_IN_TASKS, FLAGS, Settings, read_dotenv

if TYPE_CHECKING:
    from askrows.pipeline.batch.run import Run
    from askrows.web.app_state import PageCommand

# Click converts the texts of a form in this context.
FORM_CONTEXT = click.Context(click.Command("page"))
# Click's settings of the options that all commands have, by name.
COMMON_OPTIONS: dict[str, dict[str, Any]] = {
    "json": {
        "is_flag": True,
        "envvar": f"{PREFIX}JSON",
        "help": "Print a single JSON document.",
    },
    "yes": {"is_flag": True, "envvar": f"{PREFIX}YES", "help": "Answer every question with yes."},
    "debug": {
        "is_flag": True,
        "envvar": f"{PREFIX}DEBUG",
        "help": "Print the traceback of an error.",
    },
    # The variables of these two are read with the other settings.
    "data": {"metavar": "FOLDER", "help": "Folder of the workspace. Default: data."},
    "task": {"metavar": "NAME", "help": "experts, passages, images, or your task."},
}


class ClickCommand(click.Command):
    """A command of the table for click, with the options that all commands have."""

    def __init__(self, name: str, entry: Command) -> None:
        """Make the click parameters of the command; this imports the command's module.

        In addition to the command's own parameters there are hidden options for its named arguments
        and for the settings that have no other option.
        """
        self.entry = entry
        # The values of common options are stored in click's context, and are no arguments of the
        # command's function.
        common_options = [
            click.Option(
                [f"--{name}"],
                callback=_store_common_option,
                expose_value=False,
                **click_settings,
            )
            for name, click_settings in COMMON_OPTIONS.items()
            if name != "json" or entry.has_json
        ]
        params = [*entry.params, *common_options]
        params += [param.option for param in entry.params if isinstance(param, NamedArgument)]

        used_names = {param.name for param in entry.params}
        used_names.update(chain.from_iterable(param.opts for param in params))
        setting_options = [
            option
            for option in map(_make_setting_option, OPTION_SETTINGS)
            if used_names.isdisjoint({option.name, *option.opts})
        ]

        super().__init__(name, params=[*params, *setting_options], help=entry.function.__doc__)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line; options that were not typed come from the environment or `.env`.

        The environment overrides `.env`.

        Returns:
            The arguments that click did not use.

        Raises:
            InputError: A variable of the environment, of `.env` or of make is unknown.
            BadParameter: An option was typed with an empty value, or its value is invalid.
            MissingParameter: A required option is missing; the message names make's variable.
        """
        dotenv = read_dotenv()
        check_variables_are_known(self.entry, os.environ, dotenv)
        self._check_no_empty_options(ctx, args)

        ctx.default_map = {
            param.name: dotenv[PREFIX + variable]
            for variable, param in self.entry.variables.items()
            if param.name and dotenv.get(PREFIX + variable)
        }

        try:
            return super().parse_args(ctx, args)
        except click.MissingParameter as error:
            if error.param is None or not isinstance(error.param.envvar, str):
                raise
            message = f"With make: {error.param.envvar.removeprefix(PREFIX)}=…"
            raise click.MissingParameter(message, ctx=error.ctx, param=error.param) from None

    def _check_no_empty_options(self, ctx: click.Context, args: Sequence[str]) -> None:
        """Check that no option was typed with an empty or blank value, also as a variable of make.

        Flags of make may be empty. Variables of the environment and of `.env` are not checked.

        Raises:
            BadParameter: An option is empty.
        """
        typed_values, _, _ = self.make_parser(ctx).parse_args(list(args))
        make_variables = read_make_variables()
        for param in self.get_params(ctx):
            value = typed_values.get(str(param.name))
            if not isinstance(value, str | tuple) and not getattr(param, "is_flag", False):
                value = make_variables.get(_make_variable_name(param))
            texts = value if isinstance(value, tuple) else (value,)
            if any(isinstance(text, str) and not text.strip() for text in texts):
                raise click.BadParameter("it is empty; nothing was done", ctx=ctx, param=param)

    def invoke(self, ctx: click.Context) -> None:
        """Run the command, print its report, and raise the error with which the command ends.

        Standard output gets the text, or with `--json` only the JSON document. Warnings follow on
        standard error. If no error ends the command, the next step is printed last, but not with
        `--json`. A command without a report printed its output itself.
        """
        trust.set_confirmation_function(ask_person_and_exit_on_no)

        report = open_workspace_and_run_command(self.entry, ctx.params)
        if report is None:
            return

        terminal = Terminal()
        if should_print_json():
            print_json(report.figures)
        else:
            print_report_as_text(report)
        for warning in report.warnings:
            terminal.warn(warning)
        raise_first_and_warn_of_others(report.errors, terminal)
        if report.next_step and not should_print_json():
            terminal.hint(str(report.next_step))


def _make_variable_name(param: click.Parameter) -> str:
    """Return the name of a parameter as make's variable has it, in lower case."""
    if isinstance(param, click.Option):
        return param.opts[-1].lstrip("-").replace("-", "_")
    return str(param.envvar).removeprefix(PREFIX).lower()


def _make_setting_option(name: str) -> click.Option:
    """Make the hidden option that overrides a setting; a setting that is a flag takes no value.

    It is in no help, but in docs/commands.md.
    """
    flag_value = "1" if name in FLAGS else None
    return click.Option(
        [f"--{name.replace('_', '-')}", name],
        flag_value=flag_value,
        is_flag=bool(flag_value),
        callback=_store_common_option,
        expose_value=False,
        hidden=True,
    )


def _store_common_option(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Store the value of an option that all commands have in click's context, for the settings.

    An empty value is not stored. Hints repeat some of these options, so the form of hints is set
    again.
    """
    if value:
        ctx.meta[CONTEXT_KEYS[str(param.name)]] = value
        set_hint_form(ctx.info_name or "")


def open_workspace_and_run_command(entry: Command, options: Mapping[str, Any]) -> Report | None:
    """Run a command with its options, on the workspace that the settings name.

    A command whose `entry.access` is empty is called without a workspace. Fixed options of the
    command override `options`. The report of a command that may change the workspace, or that has
    nothing to report, gets the next step of the workspace if it has none.

    Returns:
        The report, or None if the command printed its output itself.

    Raises:
        InputError: TASK= was typed, but the command is about another task.
        AskrowsError: The workspace cannot be opened, or the command failed.
    """
    all_options = {**options, **entry.fixed_options}
    has_task = not entry.task_option or all_options.get(entry.task_option)
    positional_name = click.get_current_context().meta.get(POSITIONAL_ARGUMENT_KEY)
    if entry.has_row_argument and positional_name == entry.task_option:
        has_task = False
    task_name = entry.task if has_task else None
    _check_typed_task_is_of_command(entry, task_name)
    if not entry.access:
        # The command opens its own workspace, for the task of the settings.
        if task_name:
            click.get_current_context().meta[CONTEXT_KEYS["task"]] = task_name
        return entry.function(**all_options)  # type: ignore[no-any-return]

    access = _choose_required_access(entry, all_options)
    with open_configured_run(
        access,
        task_name=task_name,
        is_whole_workspace=entry.is_whole_workspace,
        may_span_tasks=entry.may_span_tasks,
    ) as run:
        report: Report | None = entry.function(run, **all_options)
        if report is not None and (access != "read" or not report.figures):
            set_next_step_if_missing(report, run)
        return report


def set_next_step_if_missing(report: Report, run: "Run") -> None:
    """Set the next step of a report to that of the workspace, unless it has one.

    Only people read it, so it stays empty with `--json`, and after an error.
    """
    from askrows.pipeline.ops.next_command import read_next_command

    if report.next_step is None and not report.errors and not should_print_json():
        # The command may have recorded another declaration of the task.
        current_run = run.copy_with_recorded_task()
        report.next_step = read_next_command(
            current_run.workspace, current_run.task, current_run.tasks
        )


def _check_typed_task_is_of_command(entry: Command, task_name: str | None) -> None:
    """Check that a task typed by option or on make's command line is the task of the command.

    Tasks that are set in the environment or in `.env` are not checked.

    Args:
        entry: The command.
        task_name: The task that the command is about, or None if it may be about any.

    Raises:
        InputError: The typed task is another task.
    """
    typed_task = read_typed_settings(["task"]).get("task")
    if not task_name or not typed_task or typed_task == task_name:
        return

    hint = f"leave out {OptionHint('task')}"
    if "ROW" in entry.variables:
        hint += f", or name a row of the task by {OptionHint('row')}"
    raise InputError(
        f"this command is about {task_name}, not about {typed_task}; nothing was done",
        hint=hint,
    )


def _choose_required_access(entry: Command, options: Mapping[str, Any]) -> str:
    """Return the access to the workspace that a command with these options needs.

    It is the access of dry runs if `dry` is set, "write" if a write option is given, else the
    command's own access.
    """
    if entry.dry_access and options.get("dry"):
        return entry.dry_access
    if any(options.get(name) is not None for name in entry.write_options):
        return "write"
    return entry.access


@contextlib.contextmanager
def open_configured_run(
    access: str,
    *,
    settings: Settings | None = None,
    task_name: str | None = None,
    is_whole_workspace: bool = False,
    may_span_tasks: bool = False,
) -> "Iterator[Run]":
    """Open the workspace that the settings name, with one task, for a `with` block.

    The task is `task_name`, else TASK=, else the workspace's default task. With the access
    "create", the default is always people. If opening needs consent, a person is asked at the
    terminal; `--yes` agrees.

    Args:
        access: What the command may do, and what happens if there is no workspace:

            - "read": Only read. A missing workspace is an error.
            - "write": Also write. A missing workspace is created if its database exists already,
              or if the task is a user task that brings its rows, such as from a file. Otherwise it
              is an error.
            - "create": Also write. A missing workspace is created.
            - "sync": "write" for a user task, because its rows are first read from their source and
              stored; "read" for a built-in task. Nobody is asked for consent.
            - "look": "read" for a built-in task, unless `task_name` is set. Otherwise
              `open_used_or_temporary_workspace` replaces a missing workspace by an empty
              temporary workspace. In an existing workspace it records a user task that is new
              there. Nobody is asked for consent.
        settings: The settings, instead of those of options, environment and `.env`.
        task_name: The task of the run, whatever TASK= names.
        is_whole_workspace: The command is about all tasks, so no tables of a task are created. A
            task that the workspace never used is replaced by the first task that it uses.
        may_span_tasks: Whether the first task may be taken if the default is unclear, because no
            person is stored and there are several other tasks. False makes this an error.

    Raises:
        InputError: The default task is unclear.
        ConfigurationError: The workspace is missing or cannot be used, or nobody can be asked for
            consent.
        Exit: The person did not consent.
    """
    from askrows.pipeline.ops.open_task import (
        open_used_or_temporary_workspace,
        open_workspace,
    )
    from askrows.pipeline.tasks.selection import replace_default_task_if_empty
    from askrows.pipeline.workspace.open_workspace import Access, answer_no

    settings = settings or read_settings()
    display = Terminal()
    if task_name:
        settings = replace(
            settings,
            task=task_name,
            sources={**settings.sources, "task": "the command"},
        )
    elif access != "create":
        settings = replace_default_task_if_empty(
            settings, allow_several=is_whole_workspace or may_span_tasks
        )

    is_user_task = settings.task not in BUILT_IN_TASKS
    if access == "look" and (task_name or is_user_task):
        may_lack_row_table = bool(task_name)
        with open_used_or_temporary_workspace(
            settings, display, may_lack_row_table=may_lack_row_table
        ) as run:
            yield run
        return

    confirm: Callable[[str], bool] = agree_by_yes_or_ask
    # A dry run adds nothing to another program's database.
    if access == "sync":
        confirm = answer_no
    # The rows of a user task are read from its source first, and stored.
    if access == "sync" and is_user_task:
        access = "write"
    elif access in {"sync", "look"}:
        access = "read"
    with open_workspace(
        settings,
        display,
        access=Access(access),
        confirm=confirm,
        is_whole_workspace=is_whole_workspace,
    ) as run:
        yield run


def should_print_json() -> bool:
    """Return whether this command prints nothing but a JSON document; true for a page, too."""
    context = click.get_current_context(silent=True)
    return context is None or bool(context.meta.get(CONTEXT_KEYS["json"]))


def has_yes_option() -> bool:
    """Return whether `--yes` answers every question of this command."""
    return bool(click.get_current_context().meta.get(CONTEXT_KEYS["yes"]))


def agree_by_yes_or_ask(question: str) -> bool:
    """Return true if `--yes` was given, or if a person says yes; false if nobody can be asked.

    The answer no does not return: it ends the command (see `ask_person_and_exit_on_no`).
    """
    return has_yes_option() or ask_person_and_exit_on_no(question)


def ask_person_and_exit_on_no(question: str) -> bool:
    """Ask a person at a terminal, even with `--yes`; return true for yes.

    Return false only if nobody can be asked: standard input is not a terminal, or a background
    thread of the web page asks. Callers refuse then.

    The answer no does not return. It prints that nothing more was changed, and ends the command
    with exit code 0.

    Raises:
        click.exceptions.Exit: The person said no.
        click.Abort: The person pressed Ctrl-C, or the input ended.
    """
    context = click.get_current_context(silent=True)
    if context is None or not sys.stdin.isatty():
        return False

    if click.confirm(make_printable(question), err=True):
        return True

    Terminal().say("nothing more was changed")
    raise click.exceptions.Exit(0)


def parse_command_form(entry: Command, form: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of a command's parameters from the texts of a page's form.

    An empty text counts as missing. A parameter without a text gets its default. Fixed options have
    the values that the table of commands sets.

    Args:
        entry: The command.
        form: The texts by the names of the options.

    Raises:
        InputError: An option is unknown, allowed only on a command line, missing or invalid; the
            error's `field` names it.
    """
    params_by_name = {
        variable.lower(): param
        for variable, param in entry.variables.items()
        if variable.lower() not in entry.local_options
    }
    values: dict[str, Any] = {
        str(param.name): None if param.required else param.get_default(FORM_CONTEXT)
        for param in entry.params
    }

    for name, text in form.items():
        if name not in params_by_name:
            raise InputError(
                f"there is no option {name!r}; nothing was done",
                hint=f"valid options: {', '.join(params_by_name) or 'none'}",
                field=name,
            )
        if text:
            param = params_by_name[name]
            values[str(param.name)] = _convert_form_text(param, name, text)

    for name, param in params_by_name.items():
        if param.required and values[str(param.name)] is None:
            raise InputError(f"{name} is missing; nothing was done", field=name)
    return {**values, **entry.fixed_options}


def _convert_form_text(param: click.Parameter, name: str, text: str) -> Any:
    """Convert a text to the type of a parameter; a parameter with several values gets its words.

    Raises:
        InputError: The text is invalid; the message and `field` have the option's name.
    """
    texts = text.split() if param.nargs == -1 else text
    try:
        return param.type_cast_value(FORM_CONTEXT, texts)
    except click.BadParameter as error:
        raise InputError(f"{name}: {error.message}; nothing was done", field=name) from None


def make_page_commands() -> "dict[str, PageCommand]":
    """Return the commands that a page may run, by name."""
    return {
        name: _make_page_command(entry) for name, entry in ALL_COMMANDS.items() if entry.page_access
    }


def _make_page_command(entry: Command) -> "PageCommand":
    """Return a command for the page: whether it only reads, and two functions.

    `needs_write_access` takes a form and a task name, and returns whether the workspace must be
    opened for writing. `run` takes an open workspace and a form, runs the command, and returns its
    JSON document or raises the command's error. Both raise the InputError of `parse_command_form`
    for a bad form.
    """
    from askrows.web.app_state import PageCommand

    def needs_write_access(form: Mapping[str, str], task_name: str) -> bool:
        """Return whether the command with this form writes; raise InputError for a bad form."""
        access = _choose_required_access(entry, parse_command_form(entry, form))
        if access in {"sync", "look"}:
            return task_name not in BUILT_IN_TASKS
        return access == "write"

    def run(run: "Run", form: Mapping[str, str]) -> Any:
        """Run the command, raise the error that it ends with, or return its JSON document."""
        report: Report = entry.function(run, **parse_command_form(entry, form))
        for warning in report.warnings:
            run.workspace.display.warn(warning)
        raise_first_and_warn_of_others(report.errors, run.workspace.display)
        return report.figures

    return PageCommand(
        is_read_only=entry.page_access == "read",
        needs_write_access=needs_write_access,
        run=run,
    )
