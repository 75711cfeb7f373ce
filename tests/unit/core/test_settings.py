"""Settings come from the environment, `.env` or defaults; invalid values are named."""

from dataclasses import fields

import pytest

from askrows.pipeline.core.command_hint import PREFIX
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.redact import mask_url_secrets
from askrows.pipeline.core.settings import Settings, list_masked_setting_rows, load_settings


def test_every_setting_can_be_set_and_is_listed() -> None:
    """Each setting is read by its name and listed with a description."""
    rows_by_name = {row[0]: row for row in list_masked_setting_rows(load_settings({}))}
    named_fields = [
        field for field in fields(Settings) if field.metadata and not field.metadata["names"]
    ]
    for field in named_fields:
        name = f"{PREFIX}{field.name.upper()}"
        default = rows_by_name[name][1]
        assert rows_by_name[name][3]
        if default and default not in {"True", "False"}:
            row = {row[0]: row for row in list_masked_setting_rows(load_settings({name: default}))}[
                name
            ]
            assert row[1:3] == (default, "environment")


def test_local_engine_gets_the_normal_limits_of_calls() -> None:
    """A busy machine answers slowly, too; only waits for Gemini's servers are shorter."""
    settings = Settings()
    local_settings = settings.copy_with_backend_defaults("local")
    assert local_settings.list_lag < settings.list_lag
    for name in ("create_timeout", "call_timeout", "retry_for"):
        assert getattr(local_settings, name) == getattr(settings, name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DIM", "wide"),
        ("DIM", "-1"),
        ("BATCH_ROWS", "0"),
        ("LIST_LAG", "inf"),
        ("CALL_TIMEOUT", "nan"),
        ("BACKEND", "GEMINI"),
        ("DEBUG", "perhaps"),
    ],
)
def test_invalid_value_is_named_with_its_source(name: str, value: str) -> None:
    """The message contains the variable, its value and its source, and a hint exists."""
    with pytest.raises(InputError) as caught:
        load_settings({}, dotenv={PREFIX + name: value})
    assert f"{PREFIX}{name} is {value!r} (.env)" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("url", "masked_url"),
    [
        ("postgresql://ada:secret@db:5432/people", "postgresql://ada:…@db:5432/people"),
        ("postgresql://ada:se/cr?et@db/people", "postgresql://ada:…@db/people"),
        (
            "postgresql://db/p?user=a&password=secret&sslpassword=s",
            "postgresql://db/p?user=a&password=…&sslpassword=…",
        ),
        ("https://ada:sec:ret@host/v1", "https://ada:…@host/v1"),
        ("https://:secret@host/v1", "https://:…@host/v1"),
        ("postgresql://ada:p@ss/w@db/people", "postgresql://ada:…@db/people"),
        ("postgresql://ada@home:secret@db/people", "postgresql://ada@home:…@db/people"),
        ("postgresql://ada@db:5432/people", "postgresql://ada@db:5432/people"),
        ("sqlite:////tmp/a:b@c.db", "sqlite:////tmp/a:b@c.db"),
        ("ada:secret@db/people", "ada:…@db/people"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("", ""),
    ],
)
def test_passwords_are_removed_from_urls(url: str, masked_url: str) -> None:
    """A URL is printed without its password and otherwise unchanged."""
    assert mask_url_secrets(url) == masked_url
