"""Read the settings: the environment, and `.env` in the current directory beneath it."""

import os
from pathlib import Path

from dotenv import dotenv_values

from jobs.typed import given_folder
from pipeline.core.errors import ConfigurationError
from pipeline.core.settings import PREFIX, Settings, load_settings


def read_settings() -> Settings:
    """Return the settings of the environment and of `.env` in the current directory; `--data` stands above both."""
    data = given_folder()
    return load_settings({**os.environ, f"{PREFIX}DATA": data} if data else os.environ, dotenv=read_dotenv())


def read_dotenv() -> dict[str, str | None]:
    """Return the values in `.env` in the current directory, if it exists.

    Raises:
        ConfigurationError: it is not valid UTF-8.
    """
    if not Path(".env").is_file():
        return {}
    try:
        return dotenv_values(".env")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f".env cannot be read: it is not valid UTF-8 (byte {error.start})", hint="save it as UTF-8, or remove it"
        ) from error
