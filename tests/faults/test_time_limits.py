"""No call without a time-out: at every endpoint a server that hangs or trickles is given up within the limits."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.core.errors import FindableError, UnavailableError
from pipeline.gemini.client import Client
from pipeline.gemini.models import load_models
from pipeline.gemini.transport import Transport
from tests.lab import KEY, Api
from tests.live import generated

LIMIT_S = 0.3
ATTEMPTS = 3
REQUEST = {"contents": [{"role": "user", "parts": [{"text": "water law"}]}]}

EMBEDS = load_models()["gemini-embedding-2"]
Call = Callable[[Client], object]


@pytest.fixture(scope="module", name="api")
def _api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One emulator for all calls of this module."""
    with Api(tmp_path_factory.mktemp("api")) as engine:
        yield engine


@pytest.fixture(name="client")
def _client(api: Api) -> Iterator[Client]:
    """A client whose every time-out is short, with a connection that was used before."""
    transport = Transport(api_key=KEY, base_url=api.url, call_timeout_s=LIMIT_S, retry_for_s=0, trust_env=False)
    client = Client(transport, create_timeout_s=LIMIT_S, transfer_timeout_s=LIMIT_S)
    client.list_batches()
    yield client
    client.close()
    api.clear_faults()


def _upload(client: Client) -> object:
    """Upload a small file."""
    path = Path("upload.jsonl")
    path.write_bytes(b"{}\n")
    return client.upload(path, display_name="x", sha256="0" * 64, size=3)


CALLS: dict[str, tuple[str, Call]] = {
    "upload, its start": (r"^/upload/[^?]*$", _upload),
    "upload, a piece": ("upload_id=", _upload),
    "create": (":batchGenerateContent", lambda one: one.create_batch("m", file_name="files/a", display_name="x")),
    "get": (r"/batches/b1$", lambda one: one.get_batch("batches/b1")),
    "list": (r"/batches\?", lambda one: one.list_batches()),
    "list the files": (r"/files\?", lambda one: one.list_files()),
    "list the models": (r"/models\?", lambda one: one.list_models()),
    "cancel": (":cancel$", lambda one: one.cancel_batch("batches/b1")),
    "delete a batch": (r"/batches/b1$", lambda one: one.delete_batch("batches/b1")),
    "delete an upload": (r"/files/a$", lambda one: one.delete_upload("files/a")),
    "download": (":download", lambda one: one.download("files/batch-1", Path("part"))),
    "generate": (":generateContent", lambda one: generated(one, "gemini-3.5-flash-lite", REQUEST)),
    "embed": (":batchEmbedContents", lambda one: one.embed(EMBEDS, ["x"], dim=768, query=True)),
}
"""Every endpoint the client knows: where it is, and what asks for it."""

WAYS: dict[str, tuple[str, dict[str, object]]] = {
    "hang": ("hang", {}),
    "head": ("slow_loris", {"part": "head", "pause_seconds": 0.1}),
    "body": ("slow_loris", {"part": "body", "pause_seconds": 0.1}),
}
"""Never a byte; a head, or a body, of which every byte comes before any single read is given up."""


@pytest.mark.sampled(20, sqlite=20)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("call", CALLS)
def test_every_call_is_given_up_in_time(api: Api, client: Client, call: str, way: str) -> None:
    """Each attempt is given up at its limit, and there are few: the call ends as unanswered."""
    path, ask = CALLS[call]
    word, args = WAYS[way]
    api.fault(word, times=100, args=args, path=path)
    with pytest.raises(UnavailableError, match=f"no answer within {LIMIT_S:g} s"):
        ask(client)
    (fault,) = api.faults()["faults"]
    assert 1 <= fault["fired"] <= ATTEMPTS
    assert not Path("part").exists()


def test_the_list_of_endpoints_is_whole() -> None:
    """Whatever of the client asks the server stands in the table above."""
    asked = {name for name, one in vars(Client).items() if callable(one) and not name.startswith("_")} - {"close"}
    named = {"create_batch", "get_batch", "list_batches", "cancel_batch", "delete_batch", "delete_upload"}
    assert asked == named | {"upload", "download", "live", "embed", "list_files", "list_models"}


@pytest.mark.sampled(7, sqlite=7)
@pytest.mark.parametrize("call", CALLS)
def test_no_retry_without_an_end(api: Api, client: Client, call: str) -> None:
    """A server that fails at once and for ever is given up too: a create after one attempt, all else after a few."""
    path, ask = CALLS[call]
    api.fault("status", times=1000, path=path)
    before = len(api.journal())
    with pytest.raises(FindableError):
        ask(client)
    tries = [one for one in api.journal()[before:] if one["status"] == 503]
    assert len(tries) == 1 if call == "create" else 1 <= len(tries) <= ATTEMPTS
