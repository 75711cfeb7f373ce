"""Settings, read once from a mapping; other modules do not read the environment.

The value of a setting is the first of these:

1. The option of the command, such as `--task`, if the setting has one.
2. The environment variable `ASKROWS_<NAME>`; make passes its variables on under these names.
3. The same variable in `.env`.
4. The default in this module.

Keys and the base URL have the variable names that the SDK reads. `Settings.sources` has the origin
of each value, and `askrows settings` prints both.
"""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from datetime import datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from askrows.pipeline.core import trust
from askrows.pipeline.core.command_hint import PREFIX, CommandHint, OptionHint
from askrows.pipeline.core.errors import ConfigurationError, InputError
from askrows.pipeline.core.redact import (
    Secret,
    mask_key,
    mask_url_secrets,
    redact_keys,
)
from askrows.pipeline.core.setting_parsers import (
    parse_backend,
    parse_boolean,
    parse_confirmed_values,
    parse_days,
    parse_path,
    parse_positive_count,
    parse_positive_size,
    parse_prompt_version,
    parse_prompt_versions,
    parse_seconds,
    parse_share,
    parse_table_name,
    parse_task_name_or_path,
    parse_tier,
    parse_unique_names,
    parse_usd,
)
from askrows.pipeline.core.text import SURROGATES

# In the order in which the SDK prefers them.
KEY_NAMES = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
BASE_NAMES = ("GOOGLE_GEMINI_BASE_URL",)
GOOGLE_URL = "https://generativelanguage.googleapis.com/"
OPENAI_KEY_NAMES = ("OPENAI_API_KEY",)
OPENAI_BASE_NAMES = ("OPENAI_BASE_URL",)
OPENAI_URL = "https://api.openai.com/v1"
# Settings with a key.
KEY_SETTINGS = frozenset({"api_key", "openai_key"})
# Settings of the key and of the address, and the provider's own address, by backend.
_ACCESS_BY_BACKEND = {
    "gemini": ("api_key", "base_url", GOOGLE_URL),
    "openai": ("openai_key", "openai_url", OPENAI_URL),
    "server": ("openai_key", "openai_url", OPENAI_URL),
}
# Sources of settings.
DOTENV = ".env"
IN_PYTHON = "given in Python"
MAKE_PLACE = "make's command line"
# The task of commands without TASK=.
DEFAULT_TASK = "experts"
# Tasks that are no task files.
BUILT_IN_TASKS = ("passages",)

_UNITS = {
    parse_seconds: "s",
    parse_days: "days",
    parse_usd: "USD",
    parse_positive_size: "bytes",
}


def _declare_setting(
    default: Any, parse: Callable[[str], Any], text: str, **metadata_members: Any
) -> Any:
    """Declare a setting as a dataclass field.

    Args:
        default: The default.
        parse: Parser of its text.
        text: Description.
        metadata_members: `local`, `openai` or `server`, the default with that backend; `unit`, if
            the parser does not determine it; `names`, the variables, if they are not
            `ASKROWS_<NAME>`; `example`, a valid value, if the default is not one.
    """
    metadata = {
        "unit": _UNITS.get(parse, ""),
        "names": (),
        "example": None if default is None else str(default).removesuffix(".0"),
        **metadata_members,
        "parse": parse,
        "help": text,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Budget:
    """Limit of spending."""

    usd: float
    # Spending before this time (aware, UTC) does not count.
    starts_at: datetime
    # Variable that the user set.
    name: str


@dataclass(frozen=True)
class Settings:
    """All settings; durations are in seconds unless the name has another unit."""

    data: Path = _declare_setting(
        Path("data"),
        parse_path,
        "the folder of the workspace",
    )
    backend: str | None = _declare_setting(
        None,
        parse_backend,
        "gemini, openai, server or local; default: that of the key, else local",
        example="local",
    )
    database_url: Secret | None = _declare_setting(
        None,
        Secret.from_url,
        "SQLAlchemy URL of the database; default: DATA/askrows.db",
    )
    model: str = _declare_setting(
        "gemini-3.5-flash-lite",
        str,
        "the model that answers",
        local="askrows-local-1",
        openai="gpt-5-mini",
    )
    embedding_model: str = _declare_setting(
        "gemini-embedding-2",
        str,
        "the model that embeds texts",
        local="askrows-local-embedding-1",
        openai="text-embedding-3-small",
        server="askrows-local-embedding-1",
    )
    decision_model: str = _declare_setting(
        "gemini-decision-1",
        str,
        "the model that decides closed questions",
        local="askrows-local-decision-1",
    )
    dim: int = _declare_setting(768, parse_positive_count, "width of the vectors", unit="numbers")
    models_file: Path | None = _declare_setting(
        None,
        parse_path,
        "a TOML file that adds to the model catalogue or overrides it",
    )
    tier: str = _declare_setting(
        "1",
        parse_tier,
        "the project's usage tier: free, 1, 2 or 3; its limits are in `askrows prices`",
    )
    rpm: int | None = _declare_setting(
        None,
        parse_positive_count,
        "live requests per minute, instead of the tier's",
        unit="requests/min",
    )
    tpm: int | None = _declare_setting(
        None,
        parse_positive_count,
        "live prompt tokens per minute, instead of the tier's",
        unit="tokens/min",
    )
    rpd: int | None = _declare_setting(
        None,
        parse_positive_count,
        "live requests per day, instead of the tier's",
        unit="requests/day",
    )
    batch_rows: int = _declare_setting(
        50_000,
        parse_positive_count,
        "most requests in one batch",
        unit="requests",
    )
    batch_bytes: int = _declare_setting(
        1_000_000_000,
        parse_positive_size,
        "largest request file as it is sent, up to the limit of the provider",
    )
    batch_tokens: int = _declare_setting(
        3_000_000,
        parse_positive_count,
        "most estimated input tokens in one batch",
        unit="tokens",
    )
    confirm_above: float = _declare_setting(
        1.0,
        parse_usd,
        "estimated USD above which a command asks first",
    )
    budget_per_day: float | None = _declare_setting(
        None,
        parse_usd,
        "most USD in total per day of the provider",
        example="5",
    )
    concurrency: int = _declare_setting(
        5,
        parse_positive_count,
        "live calls at once; more if RPM needs more, except that 1 stays 1",
        unit="calls",
    )
    create_timeout: float = _declare_setting(
        60.0,
        parse_seconds,
        "how long a create call may take",
    )
    list_lag: float = _declare_setting(
        60.0,
        parse_seconds,
        "how late a new batch may appear in the API's list",
        local=0.0,
    )
    call_timeout: float = _declare_setting(
        60.0,
        parse_seconds,
        "how long any other call may take; transfers may take ten times as long",
    )
    retry_for: float = _declare_setting(60.0, parse_seconds, "how long a failing call is repeated")
    retry_wait: float = _declare_setting(
        1.0,
        parse_seconds,
        "first wait between tries; it doubles, with jitter",
        local=0.1,
    )
    poll_first: float = _declare_setting(
        5.0,
        parse_seconds,
        "first wait between polls of a batch",
        local=0.02,
    )
    poll_most: float = _declare_setting(
        60.0,
        parse_seconds,
        "longest wait between polls of a batch",
        local=1.0,
    )
    poll_patience: float = _declare_setting(
        300.0,
        parse_seconds,
        "how long batch-poll continues while every poll fails",
    )
    keep_days: float = _declare_setting(
        30.0,
        parse_days,
        "days for which clean keeps builds and the files of finished batches",
    )
    task: str = _declare_setting(
        DEFAULT_TASK,
        partial(parse_task_name_or_path, suggested_names=(DEFAULT_TASK, *BUILT_IN_TASKS)),
        "experts, passages, or your own task by its name or file",
    )
    index_columns: tuple[str, ...] | None = _declare_setting(
        None,
        parse_unique_names,
        "other columns of imported files to index, or none; default: as before",
    )
    tags_from: Path | None = _declare_setting(
        None,
        parse_path,
        "vocabulary file with the only tags that experts get",
    )
    version: str | None = _declare_setting(
        None,
        parse_prompt_version,
        "version for passages, or whose answers are exported; default: the current version",
    )
    skip_versions: tuple[str, ...] | None = _declare_setting(
        None,
        parse_prompt_versions,
        "passages with concepts of these versions are not asked; default: VERSION=, else all",
    )
    passages_table: str = _declare_setting(
        "passages",
        parse_table_name,
        "the table of the passages, which is read in place",
    )
    prefer_versions: tuple[str, ...] | None = _declare_setting(
        None,
        parse_prompt_versions,
        "versions whose answers are preferred, in order, or none; commands that write store it",
    )
    doubtful: float = _declare_setting(
        0.7,
        parse_share,
        "a row is doubtful if the confidence of a field is below this",
    )
    gates: str | None = _declare_setting(
        None,
        str,
        "other bounds of quality gates, such as evidence=0.95,concepts=3..16",
    )
    trust: tuple[str, ...] = _declare_setting(
        (),
        parse_confirmed_values,
        "servers, databases and task files that need no confirmation; refused in .env",
    )
    debug: bool = _declare_setting(
        False,  # noqa: FBT003 - a default
        parse_boolean,
        "show tracebacks",
        example="1",
    )
    api_key: Secret | None = _declare_setting(
        None,
        Secret.register_key,
        "the key; the first variable that is set counts; without a key, local",
        names=KEY_NAMES,
    )
    base_url: Secret | None = _declare_setting(
        None,
        Secret.from_url,
        "a server instead of Google's",
        names=BASE_NAMES,
    )
    openai_key: Secret | None = _declare_setting(
        None,
        Secret.register_key,
        "the key of OpenAI, or of a server that speaks its API",
        names=OPENAI_KEY_NAMES,
    )
    openai_url: Secret | None = _declare_setting(
        None,
        Secret.from_url,
        "a server that speaks OpenAI's API, instead of OpenAI's",
        names=OPENAI_BASE_NAMES,
    )
    sources: Mapping[str, str] = field(default_factory=dict)

    def find_version_of_task(self, task: str, prompt_version: str) -> str | None:
        """Return the version of the setting VERSION if it is a version of a task; else None.

        Args:
            task: Name of the task.
            prompt_version: Current version of the task.
        """
        version = self.version
        if version and (version == prompt_version or version.partition("@")[0] == task):
            return version
        return None

    @property
    def backend_of_keys(self) -> str:
        """Return the backend: the setting, else that of the only key, else local.

        With both keys it is gemini. An address without a key is a server of one's own.
        """
        if self.backend or self.api_key:
            return self.backend or "gemini"
        if self.openai_key:
            return "openai"
        return "server" if self.openai_url else "local"

    def find_key_of_backend(self, backend: str) -> Secret | None:
        """Return the key of a backend; None if it is not set. The local engine has none."""
        key: Secret | None = getattr(self, _ACCESS_BY_BACKEND[backend][0])
        return key

    def find_address_of_backend(self, backend: str) -> Secret | None:
        """Return the address that is set for a backend; None for the provider's own."""
        address: Secret | None = getattr(self, _ACCESS_BY_BACKEND[backend][1])
        return address

    def copy_with_backend_defaults(self, backend: str, *, lag_s: float = 0.0) -> "Settings":
        """Return these settings with the defaults of a backend.

        Settings that were set keep their values. The defaults without a backend are Gemini's.

        Args:
            backend: gemini, openai, server or local.
            lag_s: Measured seconds until a new batch is in the list of batches. With either
                backend, LIST_LAG is raised to it, unless LIST_LAG was set.
        """
        own_defaults = {
            setting.name: setting.metadata[backend]
            for setting in _DECLARED.values()
            if setting.name not in self.sources and backend in setting.metadata
        }
        if "list_lag" not in self.sources:
            own_defaults["list_lag"] = max(own_defaults.get("list_lag", self.list_lag), lag_s)
        return replace(self, **own_defaults)

    def confirm_and_get_database_url(self) -> Secret:
        """Return the URL of the database, confirmed; by default `askrows.db` in the folder DATA.

        If `.env` set it, a person must confirm it once for the workspace, because a stranger may
        have written that file: ASKROWS_TRUST names it, or the person says yes at the terminal, and
        the yes is stored. Until then, each call asks.

        Raises:
            ConfigurationError: `.env` set the URL, and nobody confirms it.
        """
        if self.database_url and self.sources.get("database_url") == DOTENV:
            trust.ask_for_confirmation_or_raise(
                str(self.database_url).rstrip("/"),
                self.data,
                trusted=self.trust,
                fact=f".env sets the database of this workspace to {self.database_url}",
                unchanged="it was not opened",
            )
        if self.database_url:
            return self.database_url
        # These two characters have a meaning in a URL.
        path = str(self.data / "askrows.db").replace("%", "%25").replace("?", "%3F")
        return Secret.from_url(f"sqlite:///{path}")

    def confirm_and_get_server_address(self, backend: str) -> Secret:
        """Return the address of a backend's API, confirmed; key and rows are sent to it.

        If `.env` set it, a person must confirm it once for the workspace, because a stranger may
        have written that file: ASKROWS_TRUST names it, or the person says yes at the terminal, and
        the yes is stored. The provider's own address needs no confirmation.

        Args:
            backend: gemini, openai or server.

        Raises:
            ConfigurationError: `.env` set the address, and nobody confirms it. Or `.env` set the
                address, but a key exists that is not from `.env`; then nobody is asked.
        """
        key_setting, address_setting, own_address = _ACCESS_BY_BACKEND[backend]
        server = self.find_address_of_backend(backend) or Secret.from_url(own_address)
        is_own = server.reveal().rstrip("/") == own_address.rstrip("/")
        if is_own or self.sources.get(address_setting) != DOTENV:
            return server
        variable = VARIABLES[address_setting][0]
        has_foreign_key = not self.sources.get(key_setting, "").endswith(DOTENV)
        if self.find_key_of_backend(backend) and has_foreign_key:
            raise ConfigurationError(
                f".env sets the server {server}, but the key is not from .env; nothing was sent",
                hint=f"set both in .env, or set {variable} in the environment too",
            )
        trust.ask_for_confirmation_or_raise(
            str(server).rstrip("/"),
            self.data,
            trusted=self.trust,
            fact=f"the key and all requests go to {server} ({variable}, {DOTENV}), "
            f"not to {'Google' if backend == 'gemini' else 'OpenAI'}",
            unchanged="nothing was sent",
        )
        return server


_DECLARED = {setting.name: setting for setting in fields(Settings) if setting.metadata}
# Variables by setting; the first that is set counts.
VARIABLES = {
    name: setting.metadata["names"] or (PREFIX + name.upper(),)
    for name, setting in _DECLARED.items()
}
FLAGS = frozenset(name for name, setting in _DECLARED.items() if setting.default is False)


def load_settings(
    environ: Mapping[str, str],
    *,
    dotenv: Mapping[str, str | None] | None = None,
    option_texts: Mapping[str, str] | None = None,
    make_variables: Collection[str] = (),
) -> Settings:
    """Return the settings of options, the environment and `.env`, and the source of each value.

    An empty value counts as not set. An option overrides the environment. For each variable, the
    environment is read before `.env`. If a setting has several variables, the first that has a
    value in either place counts.

    Args:
        environ: Environment, such as `os.environ`.
        dotenv: Values of `.env`.
        option_texts: Texts of typed options, such as `--task`, by setting.
        make_variables: Settings in the environment that were typed as variables of make.

    Raises:
        InputError: A value is invalid.
        ConfigurationError: `.env` sets ASKROWS_TRUST.
    """
    if dotenv and dotenv.get(trust.VARIABLE):
        raise ConfigurationError(
            f"{trust.VARIABLE} is set in .env, which anybody may have written; nothing was done",
            hint="set it in the environment instead",
        )

    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    # The key is read first, because the error of another setting may quote it.
    for setting in sorted(_DECLARED.values(), key=lambda setting: setting.name not in KEY_SETTINGS):
        option_text = (option_texts or {}).get(setting.name)
        if option_text:
            option = f"--{setting.name.replace('_', '-')}"
            values[setting.name] = _parse_setting(setting, option_text, option)
            sources[setting.name] = option
            continue
        environ_place = MAKE_PLACE if setting.name in make_variables else "environment"
        places = ((environ_place, environ), (DOTENV, dotenv or {}))
        names = VARIABLES[setting.name]
        for name, (place, mapping) in product(names, places):
            text = mapping.get(name)
            if setting.name in KEY_SETTINGS:
                text = (text or "").strip()
            if text:
                values[setting.name] = _parse_setting(setting, text, name, f" ({place})")
                sources[setting.name] = place
                if len(names) > 1:
                    sources[setting.name] = f"{name}, {place}"
                break
    return Settings(**values, sources=sources)


def read_dotenv() -> dict[str, str | None]:
    """Return the values of `.env` in the current directory; empty if there is no such file.

    Raises:
        ConfigurationError: The file is not valid UTF-8.
    """
    if not Path(".env").is_file():
        return {}
    from dotenv import dotenv_values

    try:
        return dotenv_values(".env")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f".env cannot be read: it is not valid UTF-8 (byte {error.start})",
            hint="save it as UTF-8, or remove it",
        ) from error


def read_variable(name: str) -> str:
    """Return a variable of the environment, else of `.env`, else ""."""
    return os.environ.get(name) or read_dotenv().get(name) or ""


def _parse_setting(setting: Field[Any], text: str, name: str, place: str = "") -> Any:
    """Parse the text of a setting, and return its value.

    Args:
        setting: Declaration of the setting.
        text: The text to parse.
        name: Variable or member, for the message.
        place: Its source in parentheses, for the message.

    Raises:
        InputError: The text is invalid. The message has no key and no password.
    """
    try:
        if SURROGATES.search(text):
            raise ValueError("it is not valid UTF-8")  # noqa: TRY301 - like an error of a parser
        return setting.metadata["parse"](text)
    except ValueError as error:
        masked_text = mask_key(text) if setting.name in KEY_SETTINGS else mask_url_secrets(text)
        hint = setting.metadata["help"]
        example = setting.metadata["example"]
        if example is not None:
            hint += f"; for example `{OptionHint(**{setting.name: example})}`"
        raise InputError(f"{name} is {masked_text!r}{place}: {error}", hint=hint) from error


def override_settings(settings: Settings, overrides: Mapping[str, object]) -> Settings:
    """Return a copy of settings with values that Python code gave.

    The source of these values becomes IN_PYTHON.

    Args:
        settings: Settings to start from.
        overrides: Values by the name of their setting in lower case. They are parsed like texts of
            the environment; a list is joined by commas, and None restores the default.

    Raises:
        InputError: There is no such setting, or a value is invalid.
    """
    parsed_values: dict[str, Any] = {}
    for name, value in overrides.items():
        if name not in _DECLARED:
            list_command = CommandHint("settings", all=True)
            raise InputError(
                f"there is no setting {name!r}; nothing was done",
                hint=f"`{list_command}` lists all settings, in upper case",
            )

        setting = _DECLARED[name]
        if value is None:
            parsed_values[name] = setting.default
        else:
            text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            parsed_values[name] = _parse_setting(setting, text, name)

    sources = {**settings.sources, **dict.fromkeys(parsed_values, IN_PYTHON)}
    return replace(settings, **parsed_values, sources=sources)


class SettingRow(NamedTuple):
    """A setting as it may be shown, without keys and passwords."""

    # Variable.
    name: str
    # Text of the value; "" if it is None.
    value: str
    source: str
    # Description.
    help: str
    # Unit of the value; "" if it has none.
    unit: str = ""


def list_masked_setting_rows(settings: Settings) -> list[SettingRow]:
    """Return every setting with its value for the backend in use; keys and passwords are masked.

    Each row has the variable, the value as a text ("" if not set), its source ("default" if no
    source sets it), help and unit. Some defaults depend on the backend.
    """
    effective_settings = settings.copy_with_backend_defaults(settings.backend_of_keys)
    rows = []
    for name, setting in _DECLARED.items():
        value = getattr(effective_settings, name)
        if value is None:
            text = ""
        elif isinstance(value, tuple):
            text = ",".join(map(str, value))
        else:
            text = str(value)
        rows.append(
            SettingRow(
                VARIABLES[name][-1],
                redact_keys(mask_url_secrets(text)),
                settings.sources.get(name, "default"),
                setting.metadata["help"],
                setting.metadata["unit"],
            ),
        )
    return rows


def format_number_with_unit(value: str, unit: str) -> str:
    """Return a number with its unit; a whole number has commas between thousands.

    An empty value, or a value without a unit, is returned unchanged.

    Raises:
        ValueError: The value has a unit but is not a number.
    """
    if not unit or not value:
        return value
    number = float(value)
    if number.is_integer():
        return f"{int(number):,} {unit}"
    return f"{number:g} {unit}"
