"""Every failure of a server: the kind of error that the client raises, and its number of calls."""

import contextlib
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from askrows.pipeline.core.errors import (
    AskrowsError,
    ConfigurationError,
    KeyRefusedError,
    MissingError,
    NotSentError,
    RefusedError,
    ThrottledError,
    UnavailableError,
)
from askrows.pipeline.provider.gemini.client import Client
from tests.integration.gemini.scripted import KEY, Answer, Script, decided, generated

BATCH = "batches/b1"
GOOD = Answer({"name": BATCH, "metadata": {"displayName": "w/1", "state": "BATCH_STATE_PENDING"}})
DECISION = {"input": "t", "questions": {"q": {"type": "noul", "instructions": "i"}}}
RETRY = "type.googleapis.com/google.rpc.RetryInfo"


def error_answer(
    code: int, status: str = "", message: str = "no", *details: dict[str, Any], **headers: str
) -> Answer:
    """Return an error answer in Google's form."""
    error = {"code": code, "message": message, "status": status, "details": list(details)}
    return Answer(
        {"error": error},
        code=code,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


# Google's answer to a wrong key.
INVALID_KEY = error_answer(
    400,
    "INVALID_ARGUMENT",
    "API key not valid. Please pass a valid API key.",
    {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"},
)
# The server certainly did not act: the answer, and the error of the client.
CLEAR_REFUSALS = {
    "400": (error_answer(400, "INVALID_ARGUMENT", "Error on line 3: invalid JSON"), RefusedError),
    "key": (INVALID_KEY, KeyRefusedError),
    "billing": (error_answer(400, "FAILED_PRECONDITION", "enable billing"), KeyRefusedError),
    "401": (error_answer(401, "UNAUTHENTICATED"), KeyRefusedError),
    "403": (
        error_answer(403, "PERMISSION_DENIED", "You do not have permission, or it may not exist"),
        MissingError,
    ),
    "403-key": (
        error_answer(403, "PERMISSION_DENIED", "Your API key was reported as leaked."),
        KeyRefusedError,
    ),
    "404": (error_answer(404, "NOT_FOUND"), MissingError),
    "413": (
        Answer(body=b"<html>too large</html>", code=413, headers={"Content-Type": "text/html"}),
        RefusedError,
    ),
    "429": (error_answer(429, "RESOURCE_EXHAUSTED"), ThrottledError),
}
# The server may have created a batch.
UNCLEAR_ANSWERS = {
    "408": error_answer(408),
    "409": error_answer(409, "ABORTED"),
    "499": error_answer(499, "CANCELLED"),
    "500": error_answer(500, "INTERNAL"),
    "502": Answer(
        body=b"<html><h1>Bad Gateway</h1></html>", code=502, headers={"Content-Type": "text/html"}
    ),
    "503": error_answer(503, "UNAVAILABLE"),
    "503-json": Answer(body=b"<html>", code=503),
    "504": error_answer(504, "DEADLINE_EXCEEDED"),
    "200-html": Answer(body=b"<html>", headers={"Content-Type": "text/html"}),
    "200-empty": Answer(body=b""),
    "200-no-name": Answer({"metadata": {}}),
    "200-list": Answer([1, 2]),
    "200-wrong": Answer({"name": BATCH, "metadata": ["no"], "done": "maybe", "error": 3}),
    "200-other": Answer({"name": "batches/b1", "metadata": {"displayName": "somebody else's"}}),
    "201": Answer(GOOD.document, code=201),
    "204": Answer(body=b"", code=204),
    "206": Answer(GOOD.document, code=206),
    "302": Answer({}, code=302, headers={"Location": "http://127.0.0.1:9/"}),
    "list-wrapped": Answer([{"error": {"code": 503, "message": "x"}}], code=503),
    "drop": Answer(fault="drop"),
    "reset": Answer(fault="reset"),
    "cut": Answer(GOOD.document, cut=5),
    "bad-gzip": Answer(body=b"no gzip", headers={"Content-Encoding": "gzip"}),
}

# The other replies are JSON objects, which a live call returns.
UNCLEAR_REPLIES_TO_CALLS = [
    name for name in UNCLEAR_ANSWERS if name not in {"200-no-name", "200-wrong", "200-other"}
]


@pytest.mark.parametrize("name", [name for name in UNCLEAR_ANSWERS if name != "200-wrong"])
def test_unclear_create_is_never_repeated(
    script: Script, client: Client, wait_seconds: list[float], name: str
) -> None:
    """An unclear reply to a create raises UnavailableError after a single call without a wait."""
    script.answers = [UNCLEAR_ANSWERS[name]]
    with pytest.raises(UnavailableError):
        client.create_batch("m", file_name="files/abc", display_name="w/1")
    assert (len(script.calls), wait_seconds) == (1, [])


@pytest.mark.parametrize(
    "name", [name for name in UNCLEAR_ANSWERS if name not in {"200-other", "200-wrong"}]
)
def test_read_is_repeated(
    script: Script, client: Client, wait_seconds: list[float], name: str
) -> None:
    """The client repeats a failed read after a wait."""
    script.answers = [UNCLEAR_ANSWERS[name], GOOD]
    assert client.get_batch(BATCH).name == BATCH
    assert (len(script.calls), len(wait_seconds)) == (2, 1)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        *CLEAR_REFUSALS.values(),
        *((UNCLEAR_ANSWERS[name], UnavailableError) for name in UNCLEAR_REPLIES_TO_CALLS),
        (Answer({"error": {"code": 429, "message": "no"}}), ThrottledError),
        (Answer({"error": {"code": 13}}), UnavailableError),
    ],
)
def test_a_decision_is_asked_once_and_fails_as_other_calls_do(
    script: Script, client: Client, answer: Answer, error: type[AskrowsError]
) -> None:
    """A failed decision is not repeated, because it may have been charged."""
    script.answers = [answer]
    with pytest.raises(error):
        decided(client, DECISION)
    assert script.calls == ["POST /v1beta/decisions"]


def test_the_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    """The client uses the environment's proxy and its credentials, except for hosts in NO_PROXY."""
    monkeypatch.setenv("HTTP_PROXY", script.url.replace("http://", "http://user:word@"))
    script.answers = [Answer({"operations": []}), Answer({"operations": []})]
    client = Client(api_key=KEY, base_url="http://gemini.invalid", sleep=lambda _seconds: None)
    assert client.list_batches() == []

    client.close()
    assert script.requests[0].path == "http://gemini.invalid/v1beta/batches?pageSize=100"
    assert script.requests[0].headers["proxy-authorization"] == "Basic dXNlcjp3b3Jk"

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    direct = Client(api_key=KEY, base_url=script.url, sleep=lambda _seconds: None)
    assert direct.list_batches() == []

    direct.close()
    assert script.requests[1].path.startswith("/v1beta/batches")


@pytest.mark.parametrize(
    ("answer", "min_wait_s"),
    [
        (
            error_answer(429, "RESOURCE_EXHAUSTED", "slow", {"@type": RETRY, "retryDelay": "2.5s"}),
            2.5,
        ),
        (
            error_answer(
                429,
                "RESOURCE_EXHAUSTED",
                "slow",
                {"@type": RETRY, "retryDelay": "2s"},
                Retry_After="7",
            ),
            7.0,
        ),
        (error_answer(503, "UNAVAILABLE", "busy", Retry_After="4"), 4.0),
        (
            error_answer(429, "RESOURCE_EXHAUSTED", "slow", {"@type": RETRY, "retryDelay": "soon"}),
            0.0,
        ),
    ],
)
def test_client_waits_as_long_as_the_server_asks(
    script: Script, client: Client, wait_seconds: list[float], answer: Answer, min_wait_s: float
) -> None:
    """The wait is at least the longer of Retry-After and RetryInfo, fractions included."""
    script.answers = [answer, GOOD]
    client.get_batch(BATCH)
    assert len(wait_seconds) == 1
    assert min_wait_s <= wait_seconds[0] <= max(min_wait_s, 1.0)


@pytest.mark.parametrize("name", CLEAR_REFUSALS)
def test_clear_refusal_is_not_repeated(script: Script, client: Client, name: str) -> None:
    """A clear refusal has its own kind, code and next step; a read repeats only 429.

    A 400 about a request has no step: the server's message is about a row.
    """
    answer, error_class = CLEAR_REFUSALS[name]
    script.reply = lambda _request: answer
    with pytest.raises(RefusedError) as refusal:
        client.create_batch("m", file_name="files/abc", display_name="w/1")
    assert type(refusal.value) is error_class
    assert refusal.value.code == answer.code
    assert bool(refusal.value.hint) == (name != "400")
    assert len(script.calls) == 1

    if name != "429":
        with pytest.raises(error_class):
            client.get_batch(BATCH)
        assert len(script.calls) == 2


def test_an_invalid_address_proxy_certificate_or_key_is_a_settings_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first call raises a configuration error without secrets; an unused proxy is ignored."""

    def read_error(address: str, *, trust_env: bool = True) -> str:
        client = Client(
            api_key=KEY, base_url=address, trust_env=trust_env, sleep=lambda _seconds: None
        )
        with pytest.raises(ConfigurationError) as refusal:
            client.get_batch(BATCH)
        client.close()
        return str(refusal.value)

    for address in ("ftp://host/", "nonsense", "http://", "http://[::1", "http://u:secret@host:x/"):
        message = read_error(address, trust_env=False)
        assert "not the address" in message
        assert "secret" not in message

    # The client cannot use this proxy.
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    assert "proxy" in read_error("http://192.0.2.1:9")

    # A client that ignores the environment fails only at the connection.
    direct_client = Client(
        api_key=KEY, base_url="http://127.0.0.1:9", trust_env=False, sleep=lambda _seconds: None
    )
    with pytest.raises(NotSentError):
        direct_client.get_batch(BATCH)
    direct_client.close()

    monkeypatch.delenv("ALL_PROXY")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/at/all.pem")
    assert "certificates" in read_error("http://127.0.0.1:9")

    for key in ("a\nb", "ключ"):
        with pytest.raises(ConfigurationError):
            Client(api_key=key)


def test_endless_failure_is_bounded(
    script: Script, client: Client, wait_seconds: list[float]
) -> None:
    """The client neither waits longer than its limit nor retries beyond it.

    The HTML of a gateway is reduced to its words. A batch of another name is an unreadable answer.
    """
    script.answers = [
        error_answer(429, "RESOURCE_EXHAUSTED", "slow", {"@type": RETRY, "retryDelay": "61s"})
    ]
    with pytest.raises(ThrottledError) as throttled:
        client.get_batch(BATCH)
    assert (wait_seconds, throttled.value.retry_after_s) == ([], 61.0)
    assert "61 s" in throttled.value.hint

    for answer in (
        UNCLEAR_ANSWERS["502"],
        Answer({"name": "batches/other", "metadata": {"state": "BATCH_STATE_SUCCEEDED"}}),
    ):
        script.answers = [answer] * 100
        wait_seconds.clear()
        with pytest.raises(UnavailableError) as failure:
            client.get_batch(BATCH)
        assert 2 <= len(wait_seconds) < 100
        assert sum(wait_seconds) <= 60
        assert ("Bad Gateway" in failure.value.message) is (answer.code == 502)
        assert not re.search("[<>]", failure.value.message)


def test_a_dripping_reply_is_cut_by_the_timeout_of_its_call(script: Script, tmp_path: Path) -> None:
    """Single bytes prolong no create, live call, list or download.

    The time limit of a download grows with its size.
    """
    client = Client(
        api_key=KEY,
        base_url=script.url,
        trust_env=False,
        call_timeout_s=1,
        create_timeout_s=1,
        retry_for_s=0,
        sleep=lambda _seconds: None,
    )
    drip = Answer({**GOOD.document, "padding": "x" * 1000}, fault="drip")
    script.reply = lambda _request: drip
    calls: dict[str, Callable[[], object]] = {
        "create": lambda: client.create_batch("m", file_name="files/abc", display_name="w/1"),
        "ask": lambda: generated(client, "m", {"contents": [{"parts": [{"text": "x"}]}]}),
        "list": client.list_batches,
        "download": lambda: client.download_result("files/batch-1", tmp_path / "r.part"),
    }
    with contextlib.closing(client):
        for name, call in calls.items():
            script.requests.clear()
            with pytest.raises(UnavailableError, match="no reply within"):
                call()
            assert set(script.calls) == {script.calls[0]}, name
            assert len(script.calls) == 1 or name in {"list", "download"}

    assert not (tmp_path / "r.part").exists()


def test_closing_the_client_ends_the_running_call(script: Script, client: Client) -> None:
    """No thread waits for a reply after the workspace is closed."""
    call_started = threading.Event()
    call_errors = list[BaseException]()

    def reply(_request: object) -> Answer:
        """Signal that the call is running, and hang."""
        call_started.set()
        return Answer(fault="hang")

    def call() -> None:
        """Read a batch, and record the error that ended the call."""
        try:
            client.get_batch(BATCH)
        except BaseException as error:  # noqa: BLE001 - checked below
            call_errors.append(error)

    script.reply = reply
    thread = threading.Thread(target=call)

    thread.start()
    call_started.wait()
    client.close()
    thread.join()

    assert [type(error) for error in call_errors] == [AskrowsError]
    for client_thread in threading.enumerate():
        if client_thread.name == "gemini":
            client_thread.join(timeout=30)
            assert not client_thread.is_alive()
