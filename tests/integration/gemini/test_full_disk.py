"""A disk that is full while a result is downloaded."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.provider.gemini.client import Client
from askrows.pipeline.provider.models import load_models
from askrows.pipeline.provider.openai.client import OpenAIClient
from askrows.pipeline.provider.providers import OPENAI
from tests.integration.gemini.scripted import KEY, Answer, Script

MAX_FILE_BYTES = 1_000_000


@contextmanager
def limited_file_size() -> Iterator[None]:
    """Let this process write no file above MAX_FILE_BYTES, as if the disk were full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    earlier_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, earlier_handler)


@pytest.mark.parametrize("provider", ["gemini", "openai"])
def test_a_full_disk_is_no_error_of_the_network(
    script: Script, tmp_path: Path, provider: str
) -> None:
    """The message names the file and the disk, the call is not repeated, and no part remains."""
    options: dict[str, Any] = {"api_key": KEY, "base_url": script.url, "trust_env": False}
    client: Client | OpenAIClient = Client(**options)
    if provider == "openai":
        client = OpenAIClient(
            provider=OPENAI, require_asked_model=load_models(None).__getitem__, **options
        )
    script.answers = [Answer(body=b"{}\n" * MAX_FILE_BYTES)]
    with limited_file_size(), pytest.raises(ConfigurationError, match="cannot write") as refusal:
        client.download_result("files/result", tmp_path / "r.part", keys=())
    client.close()

    assert "r.part" in refusal.value.message
    assert "free disk space" in refusal.value.hint
    assert len(script.calls) == 1
    assert not list(tmp_path.glob("*.part"))
