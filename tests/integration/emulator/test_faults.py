"""Every fault word: scripted, seen on the wire, used up, and written into the journal under its id."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from emulator.fault_words import WORDS
from emulator.faults import in_share
from tests.integration.emulator.caller import MODEL, Caller, batch_of, by_key, documents, request_file, request_for

CREATE = f"/v1beta/models/{MODEL}:batchGenerateContent"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"
EMBED = "/v1beta/models/gemini-embedding-2:batchEmbedContents"
ONE = "^k/1$"

Seen = Callable[[Caller], None]


def _files(caller: Caller) -> httpx2.Response:
    return caller.http.get("/v1/files")


def _sees(check: Callable[[httpx2.Response], bool]) -> Seen:
    """Return what sees this in the answer to the plainest call."""

    def seen(caller: Caller) -> None:
        assert check(_files(caller))

    return seen


def _status(status: int, text: str = "") -> Seen:
    """Return what sees the plainest call answered so."""
    return _sees(lambda reply: reply.status_code == status and text in reply.text)


def _breaks(error: type[Exception], *, timeout: float | None = None) -> Seen:
    def seen(caller: Caller) -> None:
        with pytest.raises(error):
            caller.http.get("/v1/files", timeout=timeout or 10)

    return seen


def _detail(word: str, *, absent: bool = False) -> Seen:
    """Return what sees a 429 whose details hold this word, or nothing but a link."""

    def seen(caller: Caller) -> None:
        error = caller.refused(CREATE, batch_of("files/x"))
        assert error["code"] == 429
        assert (word in json.dumps(error)) is not absent

    return seen


def _early_final(caller: Caller) -> None:
    reply = caller.chunk(caller.start_upload(6), b"abc", command="upload")
    assert reply.headers["x-goog-upload-status"] == "final"
    assert reply.json()["file"]["sizeBytes"] == "3"


def _processing(caller: Caller) -> None:
    name = caller.upload(b"abc")
    assert [caller.get(f"/v1/{name}")["state"] for _ in range(3)] == ["PROCESSING", "PROCESSING", "ACTIVE"]


def _create_shape(check: Callable[[dict[str, Any]], bool]) -> Seen:
    def seen(caller: Caller) -> None:
        assert check(caller.create(request_file(1)))

    return seen


def _got(check: Callable[[dict[str, Any]], bool]) -> Seen:
    """Return what sees this in the first look at a finished batch, and the truth in the next."""

    def seen(caller: Caller) -> None:
        caller.http.delete("/_emu/faults")
        name = caller.wait(caller.create(request_file(1))["name"])["name"]
        _script_again(caller)
        first, second = caller.get(f"/v1/{name}"), caller.get(f"/v1/{name}")
        assert check(first)
        assert not check(second)

    return seen


_SCRIPTS: dict[str, dict[str, Any]] = {}


def _script_again(caller: Caller) -> None:
    """Script the fault under test once more, for a scenario that had to run without it first."""
    caller.post("/_emu/faults", [_SCRIPTS[caller.key]])


def _pages(*wanted: tuple[int, ...], batches: int = 3) -> Seen:
    """Return what sees these batches, numbered by age, on the pages of two that the tokens lead to."""

    def seen(caller: Caller) -> None:
        file = caller.upload(request_file(1))
        names = [caller.create_from(file)["name"] for _ in range(batches)]
        found, token = [], ""
        for _ in wanted:
            page = caller.get(f"/v1/batches?pageSize=2{token}")
            found.append(tuple(names.index(operation["name"]) for operation in page.get("operations", [])))
            token = f"&pageToken={page.get('nextPageToken', '')}"
        assert tuple(found) == wanted

    return seen


def _skewed(caller: Caller) -> None:
    made = caller.create(request_file(1))
    seen = caller.get(f"/v1/{made['name']}")
    assert made["metadata"]["createTime"][:10] < seen["metadata"]["createTime"][:10]


def _result(check: Callable[[list[bytes]], bool]) -> Seen:
    def seen(caller: Caller) -> None:
        assert check(caller.run(request_file(5)))

    return seen


def _keys(lines: list[bytes]) -> list[str]:
    """Return the keys in a result file, sorted; lines that are none are left out."""
    return sorted(document["key"] for line in lines if (document := _parsed(line)) is not None)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Return a line's document, None where it has none."""
    try:
        document: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return document


def _one(check: Callable[[dict[str, Any]], bool], *, live: bool = True) -> Seen:
    """Return what sees this in the one spoiled answer of a batch, in no other, and in a live answer."""

    def seen(caller: Caller) -> None:
        answers = by_key(caller.run(request_file(5)))
        assert [key for key, answer in answers.items() if check(answer["response"])] == ["k/1"]
        if live:
            caller.http.delete("/_emu/faults")
            caller.post("/_emu/faults", [{**_SCRIPTS[caller.key], "match": {}}])
            assert check(caller.post(GENERATE, request_for("Water law.")))

    return seen


def _text(response: dict[str, Any]) -> str:
    return "".join(part["text"] for part in response["candidates"][0].get("content", {}).get("parts", []))


def _finish(response: dict[str, Any]) -> str:
    return str((response.get("candidates") or [{}])[0].get("finishReason"))


def _vectors(check: Callable[[list[list[float]]], bool]) -> Seen:
    def seen(caller: Caller) -> None:
        entries = [{"content": {"parts": [{"text": text}]}} for text in ("water", "law")]
        reply = caller.http.post(EMBED, json={"requests": entries})
        assert check([entry["values"] for entry in json.loads(reply.text)["embeddings"]])

    return seen


def _line_vector(check: Callable[[list[float]], bool]) -> Seen:
    def seen(caller: Caller) -> None:
        line = {"key": "k/1", "request": {"content": {"parts": [{"text": "water"}]}}}
        file = caller.upload(json.dumps(line).encode())
        created = caller.post("/v1/models/gemini-embedding-2:asyncBatchEmbedContent", batch_of(file))
        [answer] = documents(caller.results(caller.wait(created["name"])))
        assert check(answer["response"]["embedding"]["values"])

    return seen


def _norm(vector: list[float]) -> float:
    return sum(value * value for value in vector)


SCENARIOS: dict[str, tuple[dict[str, Any], Seen]] = {
    "hang": ({}, _breaks(httpx2.ReadTimeout, timeout=0.2)),
    "drop": ({}, _breaks(httpx2.RemoteProtocolError)),
    "reset": ({}, _breaks(httpx2.ReadError)),
    "html_502": ({}, _status(502, "<html>")),
    "html_as_json": ({}, _status(503, "<html>")),
    "html_200": ({}, _status(200, "<html>")),
    "empty_200": ({}, _sees(lambda reply: reply.status_code == 200 and reply.content == b"")),
    "wrong_shape": ({}, _status(200, "brandNew")),
    "success_code": ({"args": {"code": 204}}, _status(204)),
    "redirect": ({}, _sees(lambda reply: reply.headers["location"] == "/v1/models")),
    "list_wrapped": ({}, _sees(lambda reply: bool(reply.json()[0]["error"]["code"] == 400))),
    "quota_minute": ({}, _detail("PerMinute")),
    "quota_day": ({}, _detail("PerDay")),
    "quota_batch": ({}, _detail("RetryInfo", absent=True)),
    "quota_bare": ({}, _detail("details", absent=True)),
    "status": ({"args": {"code": 504, "message": "late"}}, _status(504, "late")),
    "key_invalid": ({}, _status(400, "API_KEY_INVALID")),
    "slow_reply": ({"args": {"seconds": 0.3}}, _breaks(httpx2.ReadTimeout, timeout=0.1)),
    "lost_reply": ({}, _breaks(httpx2.RemoteProtocolError)),
    "lost_reply_status": ({}, _status(503)),
    "foreign_name": ({}, _create_shape(lambda operation: operation["name"] == "batches/somebodyelses")),
    "no_name": ({}, _create_shape(lambda operation: "name" not in operation)),
    "unknown_state": ({}, _got(lambda operation: operation["metadata"]["state"] == "BATCH_STATE_NEW")),
    "missing_state": ({}, _got(lambda operation: "state" not in operation["metadata"])),
    "no_output_yet": ({}, _got(lambda operation: "output" not in operation["metadata"])),
    "empty_page": ({}, _pages((2, 1), (), (0,))),
    "page_repeats": ({}, _pages((2, 1), (1, 0))),
    "page_skips": ({}, _pages((1,), (0,))),
    "page_circle": ({}, _pages((0,), (0,), batches=1)),
    "clock_skew": ({"match": {"path": CREATE}}, _skewed),
    "vectors_fused": ({}, _vectors(lambda vectors: len(vectors) == 1)),
    "vectors_short": ({}, _vectors(lambda vectors: [len(vector) for vector in vectors] == [768])),
    "vectors_wrong_dimension": ({}, _vectors(lambda vectors: [len(vector) for vector in vectors] == [767, 767])),
    "vectors_nan": ({}, _vectors(lambda vectors: vectors[0][0] != vectors[0][0])),
    "vectors_not_unit": ({}, _vectors(lambda vectors: _norm(vectors[0]) == pytest.approx(9, abs=1e-3))),
    "duplicate_different": ({}, _result(lambda lines: _keys(lines).count("k/1") == 2 and len(set(lines)) == 7)),
    "duplicate_error_first": ({}, _result(lambda lines: sum(b'"error"' in line for line in lines) == 1)),
    "long_line": ({}, _result(lambda lines: max(map(len, lines)) > 10 * 1024 * 1024)),
    "line_separators": ({}, _result(lambda lines: len(lines) == 6 and "\u2028" in b"".join(lines).decode())),
    "max_tokens": ({}, _one(lambda answer: _finish(answer) == "MAX_TOKENS" and _text(answer) != "")),
    "max_tokens_empty": ({}, _one(lambda answer: _finish(answer) == "MAX_TOKENS" and not _text(answer))),
    "prompt_blocked": ({}, _one(lambda answer: "candidates" not in answer and "promptFeedback" in answer)),
    "safety": ({}, _one(lambda answer: _finish(answer) == "SAFETY")),
    "recitation": ({}, _one(lambda answer: _finish(answer) == "RECITATION")),
    "no_candidates": ({}, _one(lambda answer: answer["candidates"] == [])),
    "unknown_finish": ({}, _one(lambda answer: _finish(answer) == "BRAND_NEW")),
    "schema_mismatch": ({}, _one(lambda answer: "labels" in _text(answer))),
    "markdown_fence": ({}, _one(lambda answer: _text(answer).startswith("```json\n"))),
    "answer_text": ({"args": {"text": "[]"}}, _one(lambda answer: _text(answer) == "[]")),
    "other_model": ({}, _one(lambda answer: answer["modelVersion"] == "gemini-9-other")),
    "no_usage": ({}, _one(lambda answer: "usageMetadata" not in answer and _finish(answer) == "STOP")),
    "line_vector_wrong_dimension": ({}, _line_vector(lambda vector: len(vector) == 767)),
    "line_vector_not_unit": ({}, _line_vector(lambda vector: _norm(vector) == pytest.approx(9, abs=1e-3))),
    "no_last_newline": ({}, _result(lambda lines: len(lines) == 5 and _parsed(lines[-1]) is not None)),
    "blank_lines": ({}, _result(lambda lines: len(lines) == 14 and len(_keys(lines)) == 5)),
    "crlf": ({}, _result(lambda lines: all(line.endswith(b"\r") for line in lines[:-1]))),
    "bom": ({}, _result(lambda lines: lines[0].startswith(b"\xef\xbb\xbf"))),
    "early_final": ({}, _early_final),
    "file_processing": ({}, _processing),
}
"""For each word what to script beside it, and what must be seen then."""

_ELSEWHERE = """
get_status batch_vanishes mime_refused no_upload_url
create_lost_reply create_lost_reply_status create_slow_reply chunk_lost chunk_status mime_refused_final
slow_drip slow_loris drop_chunk reset_chunk bad_line cancel_ignored page_status download_status cut_with_length
cut_without_length reset_download clock_jump swapped_bodies file_failed file_expired list_lag duplicate_batch
never_ends missing_line duplicate_equal unknown_key more_rows number_key invalid_utf8 garbage_line
broken_line all_lines_fail error_line cut_last_line batch_fails batch_expires batch_cancelled
"""
"""What tests of the product fail without, in tests/faults and tests/integration/batch."""


def test_every_word_is_seen_somewhere() -> None:
    """No fault word goes untested, and no scenario is about a word that does not exist."""
    assert sorted([*SCENARIOS, *_ELSEWHERE.split()]) == sorted(WORDS)


@pytest.mark.sampled(4, sqlite=4)
@pytest.mark.parametrize("word", sorted(SCENARIOS))
def test_a_fault_is_seen_used_up_and_journalled(guest: Caller, word: str) -> None:
    """Each word does on the wire what it says, is counted as used up, and is found in the journal by its id."""
    members, seen = SCENARIOS[word]
    default = {"key": ONE} if WORDS[word].place == "line" else {}
    script = {"fault": word, "match": default, **members}
    _SCRIPTS[guest.key] = script
    guest.post("/_emu/faults", [script])
    seen(guest)
    shown = guest.faults()
    assert shown["used_up"] is True, shown
    struck = [fault for entry in guest.journal() for fault in entry["faults"]]
    assert {"fault": word, "code": WORDS[word].code}.items() <= struck[0].items()


def test_a_fault_that_matches_nothing_is_not_used_up(guest: Caller) -> None:
    """A line fault whose key is in no batch is attached but never struck."""
    guest.script("error_line", match={"key": "nobody"})
    guest.run(request_file(2))
    [fault] = guest.faults()["faults"]
    assert (fault["attached"], fault["fired"], fault["used_up"]) == (1, 0, False)


def test_a_fraction_of_the_lines_follows_from_the_seed(guest: Caller) -> None:
    """A fault with a fraction hits those keys that the seed picks, the same ones each time; its code is as asked."""
    guest.script("error_line", args={"fraction": 0.3, "code": 429, "message": "", "with_response": True})
    for _ in range(2):
        answers = by_key(guest.run(request_file(60)))
        hit = {key for key, answer in answers.items() if "error" in answer}
        assert hit == {key for key in answers if in_share(key, fraction=0.3, seed=0)}
        assert 8 <= len(hit) <= 30
        assert all(answers[key]["error"] == {"code": 429} and "response" in answers[key] for key in hit)
    assert not any(in_share(key, fraction=0.0, seed=1) or not in_share(key, fraction=1.0, seed=1) for key in answers)


def test_a_script_that_makes_no_sense_is_refused(guest: Caller) -> None:
    """An unknown word or member, a broken value, and wrong controls are a 400, and nothing of them is kept."""
    scripts: list[object] = [{"fault": "drop"}, ["drop"], [{"fault": "drop"}, {"fault": "no_such_word"}]]
    scripts += [[{"fault": "drop", **wrong}] for wrong in ({"when": 1}, {"match": {"path": "("}}, {"times": "many"})]
    for script in scripts:
        assert guest.refused("/_emu/faults", script)["code"] == 400
    assert guest.faults()["faults"] == []
    wrong_calls: list[tuple[str, object]] = [("clock", {"advance": 3}), ("clock", []), ("settings", [])]
    for path, document in (*wrong_calls, ("settings", {"speed": 3}), ("faults", {})):
        assert guest.refused(f"/_emu/{path}", document)["code"] == 400


def test_faults_take_what_they_are_told(guest: Caller) -> None:
    """An unhappy end has the error it was given and a share of the results; any status has headers of any kind."""
    guest.script("batch_fails", args={"partial": 0.25, "error": {"code": 3, "message": "bad schema"}})
    operation = guest.wait(guest.create(request_file(4))["name"])
    assert operation["error"] == {"code": 3, "message": "bad schema"}
    assert "response" not in operation
    assert len(documents(guest.download(operation["metadata"]["output"]["responsesFile"]).split(b"\n"))) == 1
    guest.script("status", args={"code": 599, "headers": {"Retry-After": "3"}})
    reply = _files(guest)
    assert (reply.status_code, reply.headers["retry-after"], reply.json()["error"]["code"]) == (599, "3", 599)
