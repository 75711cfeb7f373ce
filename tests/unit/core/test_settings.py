"""Settings: environment over `.env` over defaults, each with its source; what does not parse is named."""

from dataclasses import fields
from pathlib import Path

import pytest

from pipeline.core.errors import ConfigurationError
from pipeline.core.settings import KEY_NAMES, PREFIX, Settings, load_settings, masked, settings_rows, without_password

KEY = "a-key-that-must-not-be-shown"


def test_without_anything_set_every_default_holds() -> None:
    """An empty environment gives the defaults, the local backend, and no sources."""
    settings = load_settings({})
    assert settings.wanted_backend == "local"
    assert settings.sources == {}
    assert settings.url == "sqlite:///data/findable.db"


def test_the_environment_wins_over_dotenv_and_empty_means_not_set() -> None:
    """Each value keeps where it came from."""
    settings = load_settings(
        {"FINDABLE_DIM": "256", "FINDABLE_MODEL": ""},
        dotenv={"FINDABLE_DIM": "512", "FINDABLE_MODEL": "x", "OTHER": None},
    )
    assert (settings.dim, settings.sources["dim"]) == (256, "environment")
    assert (settings.model, settings.sources["model"]) == ("x", ".env")


@pytest.mark.parametrize("name", KEY_NAMES)
def test_either_key_chooses_gemini(name: str) -> None:
    """A key under a name that the SDK reads asks for gemini; white space around it is not part of it."""
    settings = load_settings({name: f" {KEY}\n"})
    assert (settings.api_key, settings.wanted_backend) == (KEY, "gemini")
    assert settings.sources["api_key"] == f"{name}, environment"


def test_the_key_that_the_sdk_prefers_is_used() -> None:
    """Of two keys GOOGLE_API_KEY wins, as in the SDK."""
    assert load_settings({"GEMINI_API_KEY": "one", "GOOGLE_API_KEY": "two"}).api_key == "two"


def test_a_blank_key_is_no_key() -> None:
    """White space alone asks for nothing."""
    assert load_settings({"GEMINI_API_KEY": "  "}).wanted_backend == "local"


def test_a_named_backend_is_the_one() -> None:
    """BACKEND= is stronger than a key."""
    assert load_settings({"FINDABLE_BACKEND": "local", "GEMINI_API_KEY": KEY}).wanted_backend == "local"


def test_the_local_engine_has_defaults_of_its_own_where_nothing_is_set() -> None:
    """What was set stays as it was set."""
    settings = load_settings({"FINDABLE_LIST_LAG": "7"}).for_backend("local")
    assert (settings.model, settings.create_timeout, settings.list_lag) == ("findable-local-1", 2.0, 7.0)
    assert load_settings({}).for_backend("gemini").create_timeout == 60.0


@pytest.mark.parametrize(
    "one", [field for field in fields(Settings) if "parse" in field.metadata], ids=lambda f: f.name
)
def test_every_setting_can_be_set_and_is_shown_with_what_it_is(one: object) -> None:
    """Each is read under its own name, and stands in the list with a description."""
    name = f"{PREFIX}{one.name.upper()}"  # type: ignore[attr-defined]  # a dataclass field, of which typing says little
    shown = {row[0]: row for row in settings_rows(load_settings({}))}
    assert shown[name][3]
    default = shown[name][1]
    if default and default not in {"True", "False"}:
        assert {row[0]: row for row in settings_rows(load_settings({name: default}))}[name][1:3] == (
            default,
            "environment",
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DIM", "wide"),
        ("DIM", "-1"),
        ("BATCH_ROWS", "0"),
        ("LEASE", "inf"),
        ("CALL_TIMEOUT", "nan"),
        ("BACKEND", "GEMINI"),
        ("DEBUG", "perhaps"),
    ],
)
def test_what_does_not_parse_is_named_with_its_source(name: str, value: str) -> None:
    """The message has the variable, the value and where it was set; the hint says what it is."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings({}, dotenv={PREFIX + name: value})
    assert f"{PREFIX}{name} is {value!r} (.env)" in caught.value.message
    assert caught.value.hint


def test_keys_are_masked_wherever_they_are_shown() -> None:
    """Four characters of a long key, nothing of a short one."""
    assert masked(KEY) == "…hown"
    assert masked("short-key") == "…"
    assert not any(KEY in cell for row in settings_rows(load_settings({"GEMINI_API_KEY": KEY})) for cell in row)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:secret@db:5432/people", "postgresql://ada:…@db:5432/people"),
        ("postgresql://ada:se/cr?et@db/people", "postgresql://ada:…@db/people"),
        ("postgresql://db/p?user=a&password=secret&sslpassword=s", "postgresql://db/p?user=a&password=…&sslpassword=…"),
        ("https://ada:sec:ret@host/v1", "https://ada:…@host/v1"),
        ("https://:secret@host/v1", "https://:…@host/v1"),
        ("postgresql://ada:p@ss/w@db/people", "postgresql://ada:…@db/people"),
        ("postgresql://ada@home:secret@db/people", "postgresql://ada@home:…@db/people"),
        ("postgresql://ada@db:5432/people", "postgresql://ada@db:5432/people"),
        ("sqlite:////tmp/a:b@c.db", "sqlite:////tmp/a:b@c.db"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("", ""),
    ],
)
def test_passwords_are_taken_out_of_urls(url: str, shown: str) -> None:
    """A URL is shown without its password and otherwise as it is."""
    assert without_password(url) == shown


def test_the_database_stands_in_the_workspace_unless_it_is_named() -> None:
    """DATA= moves the database; DATABASE_URL= puts it elsewhere."""
    assert load_settings({"FINDABLE_DATA": "/tmp/there"}).url == f"sqlite:///{Path('/tmp/there')}/findable.db"  # noqa: S108 - a name
    assert load_settings({"FINDABLE_DATABASE_URL": "sqlite:///x.db"}).url == "sqlite:///x.db"
