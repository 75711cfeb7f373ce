"""Read the settings: the environment, and `.env` in the current directory beneath it."""

import os
from dataclasses import replace
from pathlib import Path

from jobs.typed import OPTIONS, given_option
from pipeline.core.errors import ConfigurationError
from pipeline.core.settings import Settings, load_settings
from pipeline.core.variables import PREFIX


def read_settings() -> Settings:
    """Return the settings of the environment and of `.env` in the current directory; options stand above both."""
    given = {name: value for name in OPTIONS if (value := given_option(name))}
    environ = os.environ | {f"{PREFIX}{name.upper()}": value for name, value in given.items()}
    settings = load_settings(environ, dotenv=read_dotenv())
    return replace(settings, sources={**settings.sources, **{name: f"--{name}" for name in given}})


def read_dotenv() -> dict[str, str | None]:
    """Return the values in `.env` in the current directory, if it exists.

    Raises:
        ConfigurationError: it is not valid UTF-8.
    """
    if not Path(".env").is_file():
        return {}
    from dotenv import dotenv_values

    try:
        return dotenv_values(".env")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f".env cannot be read: it is not valid UTF-8 (byte {error.start})", hint="save it as UTF-8, or remove it"
        ) from error
