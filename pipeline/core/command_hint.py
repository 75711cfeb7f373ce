"""What to type next: a command with its options, written in the form in which this process was begun.

A hint holds a `Step` in its f-string, and never the text of one: nothing is read back out of a message. `jobs` says
once by `write_as` which form that is; until then it is that of make.
"""

import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

PREFIX = "FINDABLE_"
_OF_ALL = (
    "task",
    "yes",
    "json",
    "debug",
)  # that every command has as an option, though they are settings, too
_PLAIN = re.compile(
    r"[\w@%+:,./…-]+"
)  # what a shell takes as one word; `…` stands for what the reader fills in


@dataclass(frozen=True)
class CommandForm:
    """How commands are typed here: after `program`, or as targets of make where that is empty.

    The `places` that were given (data, database_url) are repeated, or the next step would be about another workspace.
    `arguments` are the options that stand without their name, by command; `command` is the one that runs.
    """

    program: str = ""
    places: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, Collection[str]] = field(default_factory=dict)
    settings: Collection[str] = ()
    command: str = ""

    def step(self, command: str, options: Mapping[str, Any]) -> str:
        """Return one command as it is typed."""
        options = {
            **options,
            **{name: value for name, value in self.places.items() if name not in options},
        }
        words = [self.option(name, value, command) for name, value in options.items()]
        if not self.program:
            return " ".join(["make", command, *words])
        ahead = [word for word in words if word.startswith(PREFIX)]
        behind = sorted(
            (word for word in words if word not in ahead), key=lambda word: word.startswith("-")
        )
        return " ".join([*ahead, self.program, command, *behind])

    def option(self, name: str, value: Any, command: str = "") -> str:
        """Return one option with its value, or without one where that is None."""
        if not self.program:
            return f"{name.upper()}=" + ("" if value is None else quoted(value))
        if name in self.arguments.get(command or self.command, ()):
            return name.upper() if value is None else quoted(value)
        if name in self.settings and name not in _OF_ALL and name != "data":
            return f"{PREFIX}{name.upper()}=" + ("" if value is None else quoted(value))
        dashed = name.replace("_", "-")
        if isinstance(value, bool):
            return f"--{dashed}" if value else f"--no-{dashed}"
        letter = f"-{name}" if len(name) == 1 else f"--{dashed}"
        return letter if value is None else f"{letter} {quoted(value)}"


_form = [CommandForm()]


def write_as(form: CommandForm) -> None:
    """Write steps in this form from here on."""
    _form[:] = [form]


def current_form() -> CommandForm:
    """Return the form in which steps are written."""
    return _form[0]


class CommandHint:
    """A command with its options, by their names in lower case; its text is what to type."""

    def __init__(self, command: str, /, **options: Any) -> None:
        self.command = command
        self.options = {
            name.rstrip("_"): value for name, value in options.items() if value is not None
        }

    def __str__(self) -> str:
        return current_form().step(self.command, self.options)


class OptionHint:
    """One option of the command that runs; its text is how it is typed: `YES=1`, or `--yes`."""

    def __init__(self, name: str = "", /, **given: Any) -> None:
        self.name: str = next(iter(given), name)
        self.value: Any = given.get(self.name)

    def __str__(self) -> str:
        return current_form().option(self.name, self.value)


class HintTemplate:
    """A text kept for later, with `{}` for each step in it, which are written when it is printed."""

    def __init__(self, text: str, *steps: CommandHint | OptionHint | str) -> None:
        self.text = text
        self.steps = steps

    def __str__(self) -> str:
        return self.text.format(*self.steps)

    @property
    def step(self) -> CommandHint:
        """Return the first of its steps."""
        return next(one for one in self.steps if isinstance(one, CommandHint))


def quoted(value: Any) -> str:
    """Return a value as a shell takes it as one word."""
    text = str(int(value)) if isinstance(value, bool) else str(value)
    if _PLAIN.fullmatch(text):
        return text
    return f'"{text}"' if text and not set(text) & set('"$`\\!\n') else shlex.quote(text)
