"""Every way a server can fail, and what the client makes of it: the kind of error, and how often it asked."""

import os
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import (
    ConfigurationError,
    FindableError,
    KeyRefusedError,
    MissingError,
    NotSentError,
    RefusedError,
    ThrottledError,
    UnavailableError,
)
from pipeline.gemini.client import Client
from tests.integration.gemini.scripted import KEY, Answer, Script, generated

BATCH = "batches/b1"
GOOD = Answer({"name": BATCH, "metadata": {"displayName": "w/1", "state": "BATCH_STATE_PENDING"}})
RETRY = "type.googleapis.com/google.rpc.RetryInfo"


def refused(
    code: int, status: str = "", message: str = "no", *details: dict[str, Any], **headers: str
) -> Answer:
    """Return an error answer in Google's form."""
    error = {"code": code, "message": message, "status": status, "details": list(details)}
    return Answer(
        {"error": error},
        code=code,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def key_invalid() -> Answer:
    """Return what Google says of a wrong key."""
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    return refused(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", info)


CLEAR = {
    "400": (refused(400, "INVALID_ARGUMENT", "Error on line 3: invalid JSON"), RefusedError),
    "key": (key_invalid(), KeyRefusedError),
    "billing": (refused(400, "FAILED_PRECONDITION", "enable billing"), KeyRefusedError),
    "401": (refused(401, "UNAUTHENTICATED"), KeyRefusedError),
    "403": (
        refused(403, "PERMISSION_DENIED", "You do not have permission, or it may not exist"),
        MissingError,
    ),
    "403-key": (
        refused(403, "PERMISSION_DENIED", "Your API key was reported as leaked."),
        KeyRefusedError,
    ),
    "404": (refused(404, "NOT_FOUND"), MissingError),
    "413": (
        Answer(body=b"<html>too large</html>", code=413, headers={"Content-Type": "text/html"}),
        RefusedError,
    ),
    "429": (refused(429, "RESOURCE_EXHAUSTED"), ThrottledError),
}
UNCLEAR = {
    "408": refused(408),
    "409": refused(409, "ABORTED"),
    "499": refused(499, "CANCELLED"),
    "500": refused(500, "INTERNAL"),
    "502": Answer(
        body=b"<html><h1>Bad Gateway</h1></html>", code=502, headers={"Content-Type": "text/html"}
    ),
    "503": refused(503, "UNAVAILABLE"),
    "503-json": Answer(body=b"<html>", code=503),
    "504": refused(504, "DEADLINE_EXCEEDED"),
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


@pytest.mark.parametrize("name", [name for name in UNCLEAR if name != "200-wrong"])
def test_unclear_create_is_never_repeated(
    script: Script, client: Client, waits: list[float], name: str
) -> None:
    """Whatever else answers a create, it is unclear what became of it: one request, no wait, UnavailableError."""
    script.answers = [UNCLEAR[name]]
    with pytest.raises(UnavailableError):
        client.create_batch("m", file_name="files/abc", display_name="w/1")
    assert (len(script.calls), waits) == (1, [])


@pytest.mark.parametrize(
    "name", [name for name in UNCLEAR if name not in {"200-other", "200-wrong"}]
)
def test_read_is_repeated(script: Script, client: Client, waits: list[float], name: str) -> None:
    """A read that fails so is asked again after a wait, and then answers."""
    script.answers = [UNCLEAR[name], GOOD]
    assert client.get_batch(BATCH).name == BATCH
    assert (len(script.calls), len(waits)) == (2, 1)


def test_the_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    """A request goes through the environment's proxy, with its credentials, but not to a host in NO_PROXY."""
    monkeypatch.setenv("HTTP_PROXY", script.url.replace("http://", "http://user:word@"))
    script.answers = [Answer({"operations": []}), Answer({"operations": []})]
    client = Client(api_key=KEY, base_url="http://gemini.invalid", sleep=lambda _seconds: None)
    assert client.list_batches() == []
    client.close()
    assert script.seen[0].path == "http://gemini.invalid/v1beta/batches?pageSize=100"
    assert script.seen[0].headers["proxy-authorization"] == "Basic dXNlcjp3b3Jk"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    direct = Client(api_key=KEY, base_url=script.url, sleep=lambda _seconds: None)
    assert direct.list_batches() == []
    direct.close()
    assert script.seen[1].path.startswith("/v1beta/batches")


@pytest.mark.parametrize(
    ("answer", "least"),
    [
        (refused(429, "RESOURCE_EXHAUSTED", "slow", {"@type": RETRY, "retryDelay": "2.5s"}), 2.5),
        (
            refused(
                429,
                "RESOURCE_EXHAUSTED",
                "slow",
                {"@type": RETRY, "retryDelay": "2s"},
                Retry_After="7",
            ),
            7.0,
        ),
        (refused(503, "UNAVAILABLE", "busy", Retry_After="4"), 4.0),
        (refused(429, "RESOURCE_EXHAUSTED", "slow", {"@type": RETRY, "retryDelay": "soon"}), 0.0),
    ],
)
def test_server_wish_is_kept(
    script: Script, client: Client, waits: list[float], answer: Answer, least: float
) -> None:
    """The wait is at least the longer of Retry-After and RetryInfo, fractions included."""
    script.answers = [answer, GOOD]
    client.get_batch(BATCH)
    assert len(waits) == 1
    assert least <= waits[0] <= max(least, 1.0)


def test_model_that_is_gone_says_what_to_set(script: Script, client: Client) -> None:
    """A 404 about a model hints at the setting, one about a batch at its owner."""
    text = "This model models/gemini-2.0-flash is no longer available to new users."
    script.answers = [
        refused(404, "NOT_FOUND", text),
        refused(404, "NOT_FOUND", "Requested entity was not found."),
    ]
    with pytest.raises(MissingError) as caught:
        generated(client, "gemini-2.0-flash", {"contents": [{"parts": [{"text": "x"}]}]})
    assert "FINDABLE_MODEL" in caught.value.hint
    assert "gemini-2.0-flash" in caught.value.message
    with pytest.raises(MissingError) as caught:
        client.get_batch(BATCH)
    assert "FINDABLE_MODEL" not in caught.value.hint


@pytest.mark.parametrize("name", CLEAR)
def test_clear_refusal_is_not_repeated(script: Script, client: Client, name: str) -> None:
    """A clear refusal of a create has its own kind, its code, and was asked once; so was one of a read, but for 429."""
    answer, kind = CLEAR[name]
    script.reply = lambda _seen: answer
    with pytest.raises(RefusedError) as caught:
        client.create_batch("m", file_name="files/abc", display_name="w/1")
    assert type(caught.value) is kind
    assert caught.value.code == answer.code
    assert len(script.calls) == 1
    if name != "429":
        with pytest.raises(kind):
            client.get_batch(BATCH)
        assert len(script.calls) == 2


def test_address_proxy_certificate_and_key_that_are_none_are_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each is a configuration error at the first call, without its secrets; a proxy only where proxies are used."""

    def said(address: str, *, trust_env: bool = True) -> str:
        client = Client(
            api_key=KEY, base_url=address, trust_env=trust_env, sleep=lambda _seconds: None
        )
        with pytest.raises(ConfigurationError) as refusal:
            client.get_batch(BATCH)
        client.close()
        return str(refusal.value)

    for address in ("ftp://host/", "nonsense", "http://", "http://[::1", "http://u:secret@host:x/"):
        assert "no address" in (told := said(address, trust_env=False))
        assert "secret" not in told
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    assert "proxy" in said("http://192.0.2.1:9")
    inside = Client(
        api_key=KEY, base_url="http://127.0.0.1:9", trust_env=False, sleep=lambda _seconds: None
    )
    with pytest.raises(NotSentError):
        inside.get_batch(BATCH)
    inside.close()
    monkeypatch.delenv("ALL_PROXY")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/at/all.pem")
    assert "certificates" in said("http://127.0.0.1:9")
    for key in ("", "  ", "a\nb", "ключ"):
        with pytest.raises(ConfigurationError):
            Client(api_key=key)


def test_endless_failure_is_bounded(script: Script, client: Client, waits: list[float]) -> None:
    """A server that asks for more than the bound is not waited for, one that fails for ever is up to the bound.

    The HTML of a gateway in between is reduced to its words; a batch of another name is an unreadable answer.
    """
    script.answers = [
        refused(429, "RESOURCE_EXHAUSTED", "slow", {"@type": RETRY, "retryDelay": "61s"})
    ]
    with pytest.raises(ThrottledError) as throttled:
        client.get_batch(BATCH)
    assert (waits, throttled.value.retry_after_s) == ([], 61.0)
    assert "61 s" in throttled.value.hint
    for answer in (
        UNCLEAR["502"],
        Answer({"name": "batches/other", "metadata": {"state": "BATCH_STATE_SUCCEEDED"}}),
    ):
        script.answers = [answer] * 100
        waits.clear()
        with pytest.raises(UnavailableError) as caught:
            client.get_batch(BATCH)
        assert 2 <= len(waits) < 100
        assert sum(waits) <= 60
        assert ("Bad Gateway" in caught.value.message) is (answer.code == 502)
        assert not re.search("[<>]", caught.value.message)


def test_a_reply_that_drips_is_cut_by_the_bound_of_its_call(script: Script, tmp_path: Path) -> None:
    """A byte now and then keeps no call alive: not a create, which is asked once, nor a live call, a list, a download.

    A download has its time for each byte, and for its size.
    """
    client = Client(
        api_key=KEY,
        base_url=script.url,
        trust_env=False,
        call_timeout_s=0.05,
        create_timeout_s=0.05,
        retry_for_s=0,
        sleep=lambda _seconds: None,
    )
    drip = Answer({**GOOD.document, "padding": "x" * 1000}, fault="drip")
    script.reply = lambda _seen: drip
    calls: dict[str, Callable[[], object]] = {
        "create": lambda: client.create_batch("m", file_name="files/abc", display_name="w/1"),
        "ask": lambda: generated(client, "m", {"contents": [{"parts": [{"text": "x"}]}]}),
        "list": client.list_batches,
        "download": lambda: client.download("files/batch-1", tmp_path / "r.part"),
    }
    for name, call in calls.items():
        script.seen.clear()
        with pytest.raises(UnavailableError, match="no answer within"):
            call()
        assert set(script.calls) == {script.calls[0]}, name
        assert len(script.calls) == 1 or name in {"list", "download"}
    client.close()
    assert not (tmp_path / "r.part").exists()


def test_an_interrupt_ends_the_call_that_is_under_way(script: Script, client: Client) -> None:
    """Ctrl-C while a reply is waited for ends the wait at once, and the client may be used again."""

    def interrupted(_seen: object) -> Answer:
        """Interrupt the process, whose main thread waits for this reply, and hang."""
        os.kill(os.getpid(), signal.SIGINT)
        return Answer(fault="hang")

    script.reply = interrupted
    with pytest.raises(KeyboardInterrupt):
        client.create_batch("m", file_name="files/abc", display_name="w/1")
    script.reply = lambda _seen: GOOD
    assert client.get_batch(BATCH).name == BATCH
    assert len(script.calls) == 2


def test_a_client_that_is_closed_ends_what_is_under_way(script: Script, client: Client) -> None:
    """No thread waits on for a reply when the workspace is closed, and none is left behind."""
    begun = threading.Event()
    ended = list[BaseException]()

    def reply(_seen: object) -> Answer:
        """Say that the call is under way, and hang."""
        begun.set()
        return Answer(fault="hang")

    def call() -> None:
        """Ask, and keep what ended it."""
        try:
            client.get_batch(BATCH)
        except BaseException as error:  # noqa: BLE001 - looked at below
            ended.append(error)

    script.reply = reply
    thread = threading.Thread(target=call)
    thread.start()
    begun.wait()
    client.close()
    thread.join()
    assert [type(error) for error in ended] == [FindableError]
    assert not [one for one in threading.enumerate() if one.name == "gemini"]
