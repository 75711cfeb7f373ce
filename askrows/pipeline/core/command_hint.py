"""Hints for the next command, in the form in which this process was started.

A message contains a `CommandHint` in its f-string, never its text, so no message is parsed. `jobs`
sets the form by `set_command_form`. The default form is that of make.
"""

import json
import re
import shlex
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PREFIX = "ASKROWS_"
# Settings that every command also has as an option.
_COMMON_OPTIONS = ("task", "yes", "json", "debug")
# A text that a shell reads as a single word. `…` is a placeholder for the reader.
_SHELL_WORD = re.compile(r"[\w@%+:,./…-]+")
# Arguments of Python whose names differ from the option's.
_PYTHON_NAMES = {
    "from": "rows",
    "map": "mapping",
    "q": "question",
    "set": "fields",
    "with": "with_",
}
# A value that Python gets as a number.
_PYTHON_NUMBER = re.compile(r"\d+(\.\d+)?|True|False")


@dataclass(frozen=True)
class CommandForm:
    """The form in which commands are typed."""

    # The program before the command; empty for targets of make.
    program: str = ""
    # Given settings that select the workspace (data, database_url). They are repeated in each
    # command, so that it is about the same workspace.
    places: Mapping[str, str] = field(default_factory=dict)
    # By command, the options that are typed without their name.
    arguments: Mapping[str, Collection[str]] = field(default_factory=dict)
    # Names of settings. They are typed as variables of the environment.
    settings: Collection[str] = ()
    # The running command.
    command: str = ""
    # Names of settings that were typed as options of the running command.
    typed_settings: Collection[str] = ()
    # Whether calls of Python run the commands; options are their arguments then.
    is_python: bool = False

    def format_command(self, command: str, options: Mapping[str, Any]) -> str:
        """Return a command with its options as a person types it, for the same workspace.

        The options in `places`, such as DATA, select the workspace. They are added to each command;
        an option of the same name in `options` replaces them.

        Without a `program` the result is a command of make. With one, it has in this order:
        settings as variables of the environment, the program, the command, the arguments that are
        typed without their name, and the named options.

        Args:
            command: The name of the command, such as "tag".
            options: The value of each option by its name in lower case.
        """
        options = dict(options)
        for name, value in self.places.items():
            options.setdefault(name, value)
        words = [self.format_option(name, value, command) for name, value in options.items()]
        if not self.program:
            return " ".join(["make", command, *words])
        variables = [word for word in words if word.startswith(PREFIX)]
        arguments = [word for word in words if word not in variables]
        # Arguments without a name come before named options.
        arguments.sort(key=lambda word: word.startswith("-"))
        return " ".join([*variables, self.program, command, *arguments])

    def format_option(self, name: str, value: Any, command: str = "") -> str:
        """Return an option as a person types it, with its value; None leaves out the value.

        Without a `program` this is `NAME=value`, as for make. With one, the first of these cases
        applies:

        - An argument that the command takes without a name is its value.
        - A setting is `ASKROWS_NAME=value`, a variable of the environment. The settings that every
          command has as options, and those that the running command got as options, are written
          like other options.
        - A bool is `--name` or `--no-name`.
        - Any other option is `--name value`, or `-n value` for a name of one letter.

        Args:
            command: The command that gets the option; "" means the running command.
        """
        text = "" if value is None else quote_for_shell(value)
        if not self.program:
            return f"{name.upper()}={text}"
        if name in self.arguments.get(command or self.command, ()):
            return text or name.upper()
        is_variable = name in self.settings and name not in self.typed_settings
        if is_variable and name not in _COMMON_OPTIONS and name != "data":
            return f"{PREFIX}{name.upper()}={text}"
        dashed = name.replace("_", "-")
        if isinstance(value, bool):
            return f"--{dashed}" if value else f"--no-{dashed}"
        letter = f"-{name}" if len(name) == 1 else f"--{dashed}"
        return f"{letter} {text}".rstrip()

    def format_python_argument(self, name: str, value: Any) -> str:
        """Return an option as an argument of a call in Python; None leaves out the value."""
        text = "" if value is None else str(value)
        if text and not _PYTHON_NUMBER.fullmatch(text):
            text = repr(text)
        return f"{_PYTHON_NAMES.get(name, name)}={text}"


_current_form = [CommandForm()]


def set_command_form(form: CommandForm) -> None:
    """Set the form of all hints of this process."""
    _current_form[:] = [form]


def get_command_form() -> CommandForm:
    """Return the form of hints."""
    return _current_form[0]


class CommandHint:
    """A command with its options, by lower-case name. Its text is typed as it is."""

    def __init__(self, command: str, /, **options: Any) -> None:
        self.command = command
        self.options = {
            name.rstrip("_"): value for name, value in options.items() if value is not None
        }

    def __str__(self) -> str:
        return get_command_form().format_command(self.command, self.options)


class OptionHint:
    """An option of the running command. Its text is `YES=1` or `--yes`, in Python `yes=True`."""

    def __init__(self, name: str = "", /, **option: Any) -> None:
        """Create a hint from a name, or from a keyword with the value."""
        self.name: str = next(iter(option), name)
        self.value: Any = option.get(self.name)

    def __str__(self) -> str:
        form = get_command_form()
        if form.is_python:
            return form.format_python_argument(self.name, self.value)
        return form.format_option(self.name, self.value)


class HintTemplate:
    """A text with `{}` for each command or option. They are filled in when it is printed."""

    def __init__(self, text: str, *steps: CommandHint | OptionHint | str) -> None:
        self.text = text
        self.steps = steps

    def __str__(self) -> str:
        return self.text.format(*self.steps)

    @property
    def step(self) -> CommandHint:
        """The first command in the text."""
        return next(step for step in self.steps if isinstance(step, CommandHint))


def format_install_command(extra: str) -> str:
    """Return the command that installs an extra, in the way in which askrows was installed.

    Args:
        extra: The name of an optional dependency in pyproject.toml, such as "parquet".
    """
    from importlib.metadata import distribution

    checkout = Path(__file__).parents[3]
    if Path(sys.prefix) == checkout / ".venv":
        return f"make setup EXTRAS={extra}"
    if (checkout / "pyproject.toml").is_file():
        return f"{sys.executable} -m pip install -e '{checkout}[{extra}]'"

    # Tools of uv have no pip.
    product = distribution("askrows")
    install = f"{sys.executable} -m pip install"
    if (product.read_text("INSTALLER") or "").strip() == "uv":
        install = f"uv pip install --python {sys.executable}"
    # The URL of a folder, a file or a repository is recorded; that of an index is not.
    direct_url = product.read_text("direct_url.json")
    if direct_url is None:
        return f"{install} 'askrows[{extra}]'"
    source = json.loads(direct_url)
    prefix = f"{source['vcs_info']['vcs']}+" if "vcs_info" in source else ""
    return f"{install} 'askrows[{extra}] @ {prefix}{source['url']}'"


def quote_for_shell(value: Any) -> str:
    """Return a value as a shell reads it as a single word."""
    text = str(int(value)) if isinstance(value, bool) else str(value)
    if _SHELL_WORD.fullmatch(text):
        return text
    return f'"{text}"' if text and not set(text) & set('"$`\\!\n') else shlex.quote(text)
