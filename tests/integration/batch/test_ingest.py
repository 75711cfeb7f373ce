"""`batch-ingest` on every kind of result file: what each line makes of its request, and that all of it adds up."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection

from pipeline.batch import ingest as batch_ingest
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import table
from pipeline.experts.score import score_of
from pipeline.store import merges
from tests import ledger
from tests.delivery import MODEL, TAGS, Lines, deliver, error, line, prepare, put_people, response, result, workspace_at
from tests.lab import ON_POSTGRESQL, Workspace

Spoil = Callable[[str], Lines]
Write = Callable[[], AbstractContextManager[Connection]]
WRITTEN = '["water law","beekeeping","soil science"]'  # as a row has what the answers say


@pytest.fixture
def offline(tmp_path: Path) -> Workspace:
    """A workspace that cannot reach any API."""
    return workspace_at(tmp_path / "data")


def ingest(workspace: Workspace, *, code: int = 0) -> Any:
    """Run `batch-ingest --json`, expect an exit code, and return its document."""
    ran = workspace.ran("batch-ingest", "--json", code=code)
    ledger.check(workspace)
    return json.loads(ran.stdout)


@dataclass(frozen=True)
class Case:
    """What stands in a result file for one key, and what its request must come to."""

    name: str
    lines: Spoil
    outcome: str
    reason: str
    code: int | None = None
    parked: bool = False


def says(text: str, **more: Any) -> Spoil:
    """Return one line whose candidate says this text."""
    return lambda key: [line(key, response(text, **more))]


def body(document: Any) -> Spoil:
    """Return one line with this response."""
    return lambda key: [line(key, document)]


def fails(code: Any, message: str | None = "It failed.", **more: Any) -> Spoil:
    """Return one error line."""
    return lambda key: [error(key, code, message, **more)]


def ends(finish: str, text: str | None = None) -> Case:
    """Return the case of a candidate that ended with this finish reason."""
    blocked = {"SAFETY", "RECITATION", "PROHIBITED_CONTENT", "SPII", "BLOCKLIST", "LANGUAGE", "OTHER"}
    reason = "blocked" if finish in blocked else "bad-finish"
    return Case(finish.lower(), lambda key: [line(key, response(text, finish=finish))], "refused", reason)


FAILURES = [
    # no line of its own
    Case("missing", lambda _key: [], "missing", "no line in the result"),
    Case("key as a number", lambda key: [line(int(key.split("/")[1]))], "missing", "no line in the result"),
    Case("another key", lambda key: [line(key + "000")], "missing", "no line in the result"),
    Case("only garbage", lambda _key: [b"%%% \xff\xfe not json"], "missing", "no line in the result"),
    # lines that are no JSON
    Case("broken inside", lambda key: [line(key).replace(b'"role"', b'"ro')], "invalid", "unreadable"),
    Case("cut before its key", lambda key: [line(key)[:-30]], "missing", "no line in the result"),
    Case(
        "cut after its key", lambda key: [b'{"key":"' + key.encode() + b'","response":{"cand'], "invalid", "unreadable"
    ),
    Case("bad UTF-8", lambda key: [line(key).replace(b"water", b"w\xff\xfer")], "invalid", "unreadable"),
    Case("no object", lambda key: [b'["key","' + key.encode() + b'"]'], "missing", "no line in the result"),
    # error lines, with codes of both families
    *(
        Case(f"error {said}", fails(said), "refused", "error-line", code)
        for said, code in ((4, 4), (14, 14), ("13", 13), (429, 8), (503, 14))
    ),
    *(
        Case(f"final error {said}", fails(said), "refused", "error-line", code, parked=True)
        for said, code in ((3, 3), (5, 5), (7, 7), (9, 9), (400, 3), (404, 5), (403, 7))
    ),
    Case("error without message", fails(13, None), "refused", "error-line", 13),
    Case("error without code", fails(None), "refused", "error-line"),
    Case("error and response", fails(13, response=response()), "refused", "error-line", 13),
    Case("error that is a text", lambda key: [orjson.dumps({"error": "no", "key": key})], "refused", "error-line"),
    Case("neither", lambda key: [orjson.dumps({"key": key})], "refused", "no-response"),
    # no answer in a response
    Case("no candidates", body({**response(), "candidates": []}), "refused", "no-candidates"),
    Case("prompt blocked", body({"promptFeedback": {"blockReason": "OTHER"}}), "refused", "prompt-blocked"),
    Case("response is a list", body([]), "invalid", "unreadable"),
    *(ends(finish) for finish in ("SAFETY", "RECITATION", "PROHIBITED_CONTENT", "SPII", "BLOCKLIST", "OTHER")),
    ends("SAFETY", TAGS),
    *(ends(finish, TAGS) for finish in ("BRAND_NEW", "MALFORMED_RESPONSE", "FINISH_REASON_UNSPECIFIED")),
    Case("cut by tokens", says(TAGS[:20], finish="MAX_TOKENS"), "invalid", "max-tokens"),
    Case("whole, but cut by tokens", says(TAGS, finish="MAX_TOKENS"), "invalid", "max-tokens"),
    Case("empty", says("  \n"), "refused", "empty"),
    Case("no content", body(response(None)), "refused", "empty"),
    # answers that are not what was asked for
    Case("Markdown fence", says(f"```json\n{TAGS}\n```"), "invalid", "does-not-parse"),
    Case("cut JSON", says(TAGS[:-3]), "invalid", "does-not-parse"),
    Case("a member twice", says('{"tags":["a"],"tags":["b"]}'), "invalid", "does-not-parse"),
    Case("NUL", says('{"tags":["water\\u0000law"]}'), "invalid", "does-not-parse"),
    Case("half a surrogate pair", says('{"tags":["water \\ud800 law"]}'), "invalid", "does-not-parse"),
    Case("another field", says('{"tags":["a"],"notes":"x"}'), "invalid", "does-not-validate: notes"),
    Case("numbers", says('{"tags":[1,2]}'), "invalid", "does-not-validate: tags.0"),
    Case("empty list", says('{"tags":[""]}'), "invalid", "does-not-validate: tags"),
    Case("only blank tags", says('{"tags":[" ","\\t"]}'), "invalid", "does-not-validate: tags"),
    # several lines
    Case("error twice", lambda key: [error(key, 13), error(key, 14)], "refused", "error-line", 13),
]


@pytest.mark.sampled(0)
def test_a_line_that_is_no_answer_costs_its_own_request(offline: Workspace) -> None:
    """In one batch with a bad line of every kind, each is one failure with its reason: charged, told, nothing else."""
    put_people(offline, 2 * len(FAILURES))
    keys = prepare(offline)
    lines = [one for case, key in zip(FAILURES, keys, strict=False) for one in case.lines(key)]
    deliver(offline, b"\n".join([*lines, *map(line, keys[len(FAILURES) :])]))
    [account] = ingest(offline)
    expected = Counter(case.outcome for case in FAILURES) | Counter(answered=len(FAILURES))
    assert {name: account[name] for name in ledger.OUTCOMES} == expected
    told = offline.query("SELECT item_id, outcome, reason, code, charged FROM findable_attempts")
    failed = {item: what for item, *what in told}
    for number, case in enumerate(FAILURES, 1):
        outcome, reason, code, charged = failed.pop(str(number))
        assert (outcome, code, charged) == (case.outcome, case.code, 1), case.name
        assert reason.startswith(case.reason), (case.name, reason)
    assert failed == {}
    parked = sum(case.parked for case in FAILURES)
    assert ledger.people(offline) == {
        "total": 2 * len(FAILURES),
        "tagged": len(FAILURES),
        "parked": parked,
        "untagged": len(FAILURES) - parked,
    }
    assert sum(row["count"] for row in account["reasons"] if row["outcome"] in ledger.OUTCOMES) == len(FAILURES)


LARGEST = {"promptTokenCount": 2**31, "candidatesTokenCount": 2**30 - 1, "thoughtsTokenCount": 2**30 - 1}
ANSWERS: dict[str, Spoil] = {
    "as it is": lambda key: [line(key)],
    "key first": lambda key: [b'{"key":"%b","response":%b}' % (key.encode(), orjson.dumps(response()))],
    "key escaped": lambda key: [line(key).replace(b"expert-tags/", b"expert\\u002dtags\\/")],
    "no finish reason": body({**response(), "candidates": [{"content": {"parts": [{"text": TAGS}]}}]}),
    "two parts": body({**response(), "candidates": [{"content": {"parts": [{"text": TAGS[:9]}, {"text": TAGS[9:]}]}}]}),
    "a thought before": body(
        {**response(), "candidates": [{"content": {"parts": [{"text": "hm", "thought": True}, {"text": TAGS}]}}]}
    ),
    "blanks inside lines": lambda key: [b" " + line(key) + b" \t"],
    "other members": lambda key: [line(key, status="ok", metadata={})],
    "empty error": lambda key: [line(key, error={})],
    "null error": lambda key: [line(key, error=None)],
    "counts as texts": body({**response(), "usageMetadata": {"promptTokenCount": "100", "candidatesTokenCount": "25"}}),
    "counts beyond all sense": body({**response(), "usageMetadata": LARGEST}),
    "separators": says('{"tags":["water law","bee\u2028keeping","soil\u0085science"]}'),
    "ten megabytes": says(TAGS + " " * 10_000_000),
    "twice": lambda key: [line(key), line(key)],
    "twice and different": lambda key: [line(key), line(key, response('{"tags":["another"]}'))],
    "an error, then the answer": lambda key: [error(key, 13), line(key)],
    "a final error, then the answer": lambda key: [error(key, 3), line(key)],
    "the answer, then an error": lambda key: [line(key), error(key, 3)],
    "invalid, then the answer": lambda key: [line(key, response("{}")), line(key)],
    "garbage beside it": lambda key: [b"\x00\xff", line(key), b"{"],
}


@pytest.mark.sampled(0)
def test_an_answer_is_taken_however_it_is_written(offline: Workspace) -> None:
    """One valid answer is enough, whatever stands round it, however lines end; the first one counts."""
    put_people(offline, len(ANSWERS))
    keys = prepare(offline)
    lines = [one for lines, key in zip(ANSWERS.values(), keys, strict=True) for one in lines(key)]
    deliver(offline, b"\xef\xbb\xbf\n" + b"\n".join(lines[:9]) + b"\n\n \t\r\n" + b"\r\n".join(lines[9:]))
    [account] = ingest(offline)
    assert (account["answered"], account["unknown"], account["unreadable"]) == (len(ANSWERS), 0, 2)
    for name, (tags,) in zip(ANSWERS, offline.query("SELECT tags FROM experts ORDER BY id"), strict=True):
        assert json.loads(tags)[0] == "water law", name
        assert len(json.loads(tags)) == 3, name
    assert offline.query("SELECT * FROM findable_attempts") == []


@pytest.mark.sampled(0)
def test_an_empty_result_is_all_missing(offline: Workspace) -> None:
    """A result without any line charges each person once; none is lost."""
    put_people(offline, 3)
    prepare(offline)
    deliver(offline, b"")
    [account] = ingest(offline)
    assert account["missing"] == 3
    assert ledger.people(offline) == {"total": 3, "untagged": 3}
    assert offline.query("SELECT charged FROM findable_attempts") == [(True,)] * 3


@pytest.mark.sampled(0)
def test_lines_nobody_asked_for_are_counted_and_shown(offline: Workspace) -> None:
    """Unknown keys, second lines and lines without a key are counted with examples, and written nowhere."""
    put_people(offline, 2)
    keys = prepare(offline)
    extra = [line("nobody/0"), line("expert-tags/999999"), line(7), line(keys[0]), b"%%%", orjson.dumps([1])]
    deliver(offline, result(keys) + b"\n".join(extra) + b"\n")
    [account] = ingest(offline)
    assert (account["answered"], account["unknown"], account["duplicates"], account["unreadable"]) == (2, 4, 1, 1)
    shown = {row["outcome"]: row for row in account["reasons"]}
    assert shown["unknown"]["examples"][0][1] == "nobody/0"
    assert len(shown["unknown"]["examples"]) == 3
    assert shown["duplicate"]["examples"] == [["line 6", keys[0]]]
    assert shown["unreadable"]["examples"][0][0] == "line 7"
    stored = offline.query("SELECT kind, line FROM findable_odd_lines WHERE batch = 1 ORDER BY line")
    assert stored == [("unknown", 3), ("unknown", 4), ("unknown", 5), ("duplicate", 6), ("unreadable", 7)]
    assert offline.scalar("SELECT count(*) FROM findable_answers") == 2


@pytest.mark.sampled(0)
def test_failures_are_told_by_reason_in_few_words(offline: Workspace) -> None:
    """Exit 0, a row for each reason with three examples, short and on one line; of a clean batch one line is said."""
    put_people(offline, 9)
    keys = prepare(offline)
    wrong = [line(key, response("x" * n + "{ secret\n" * 1000)) for n, key in enumerate(keys[:4])]
    deliver(offline, b"\n".join([*wrong, *(error(key, 13, f"Trouble with {key}.") for key in keys[4:])]))
    offline.copy_to(offline.data.with_name("copy"))
    [account] = ingest(workspace_at(offline.data.with_name("copy")))
    told = {row["reason"]: row for row in account["reasons"]}
    assert (told["does-not-parse"]["count"], len(told["does-not-parse"]["examples"])) == (4, 3)
    assert all(len(said) <= 500 and "\n" not in said for _, said in told["does-not-parse"]["examples"])
    said = offline.ran("batch-ingest").stdout
    assert "0 answers of 9, 5 refused" in said
    [row] = [row for row in said.splitlines() if row.startswith("refused")]
    assert "error-line, code 13" in row
    assert row.count("person-") == 3
    assert ledger.batches(offline) == ["ingested"]
    deliver(offline, result(prepare(offline)))
    clean = offline.run("batch-ingest")
    assert ("9 answers of 9" in clean.stdout, clean.stdout.count("\n"), clean.stderr) == (True, 2, "")


def test_usage_and_cost_are_those_of_the_lines(offline: Workspace) -> None:
    """Tokens and cost are the sums over the lines: thoughts as output, failures too, errors nothing.

    Tags are normalised, the score follows in the same transaction, and the provenance is complete.
    """
    put_people(offline, 4)
    keys = prepare(offline)
    before = offline.scalar("SELECT findability_score FROM experts WHERE id = 1")
    uses = [(8, 11, 829), (100, 20, 0), (31, 0, 0)]
    text = '{"tags":["  Water\\tLaw ","water law","BEEKEEPING","","bee  keeping"]}'
    bodies = [response(text), response('{"tags":[""]}'), {"promptFeedback": {"blockReason": "SAFETY"}}]
    lines = []
    for key, answer, (asked, said, thought) in zip(keys, bodies, uses, strict=False):
        usage = {"promptTokenCount": asked, "candidatesTokenCount": said, "thoughtsTokenCount": thought}
        lines.append(line(key, {**answer, "usageMetadata": usage}))
    deliver(offline, b"\n".join([*lines, error(keys[3], 13)]))
    [account] = ingest(offline)
    prompt, output = 8 + 100 + 31, 11 + 829 + 20
    assert (account["tokens_in"], account["tokens_out"]) == (prompt, output)
    assert account["cost"] == pytest.approx((prompt * 0.15 + output * 1.25) / 1e6)  # batch prices, 2026-10-07
    [row] = json.loads(offline.run("batches", "--json").stdout)
    assert row["cost_is_actual"]
    assert row["cost"] == pytest.approx(account["cost"])
    found = offline.query("SELECT tags, findability_score FROM experts WHERE id = 1")
    assert found == [('["water law","beekeeping","bee keeping"]', before + 25)]
    asked_hash = offline.scalar("SELECT input_hash FROM findable_requests WHERE item_id = '1'")
    columns = "extractor, batch, input_hash, applied, outdated, model_version, response_id, tokens_in, tokens_out"
    assert offline.query(f"SELECT {columns} FROM findable_answers") == [  # noqa: S608 - our names
        (f"expert-tags@2/{MODEL}", 1, asked_hash, 1, 0, MODEL, "response-1", 8, 840)
    ]


@pytest.mark.sampled(0)
def test_another_model_version_is_told(offline: Workspace) -> None:
    """An answer of another model than the one asked is taken and told; a dated version of the same is not told."""
    versions = ["gemini-9-pro", f"{MODEL}-image", f"{MODEL}-002", f"models/{MODEL}", MODEL]
    put_people(offline, len(versions))
    keys = prepare(offline)
    bodies = [response(modelVersion=version) for version in versions]
    deliver(offline, b"\n".join(line(key, one) for key, one in zip(keys, bodies, strict=True)))
    ran = offline.run("batch-ingest")
    assert f"asked {MODEL}, answered by {MODEL}-image, gemini-9-pro\n" in ran.stderr


@contextmanager
def _meanwhile(ws: OpenWorkspace, monkeypatch: pytest.MonkeyPatch, change: Callable[[Write], object]) -> Iterator[None]:
    """Let another program change something before the second time that is written, when the answers are made ready."""
    writes, real = count(), ws.store.write

    def write(**how: Any) -> Any:
        if next(writes) == 1:
            change(real)
        return real(**how)

    with monkeypatch.context() as patched:
        patched.setattr(ws.store, "write", write)
        yield


def test_a_merge_while_answers_are_made_ready_is_seen(offline: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer goes past it."""
    put_people(offline, 3)
    deliver(offline, result(prepare(offline)))

    def merge(write: Write) -> None:
        with write() as tx:
            merges.add_merge(tx, table.TASK, json.loads(WRITTEN)[0], "merged", who="a person", at=datetime.now(UTC))

    with offline.open() as ws, _meanwhile(ws, monkeypatch, merge):
        assert len(batch_ingest.run(ws)) == 1
    ledger.check(offline)
    assert {json.loads(one[0])[0] for one in offline.query("SELECT tags FROM experts")} == {"merged"}


@pytest.mark.skipif(not ON_POSTGRESQL, reason="an SQLite file has one writer at a time")
def test_a_trigger_that_comes_while_answers_are_made_ready_is_seen(
    offline: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps every row as it is and says nothing: no answer counts as applied."""
    put_people(offline, 3)
    deliver(offline, result(prepare(offline)))
    real = table.write_as_read

    def write(tx: Connection, rows: Sequence[Sequence[Any]]) -> int:
        offline.change("CREATE FUNCTION back() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN old; END $$")
        offline.change("CREATE TRIGGER back BEFORE UPDATE ON experts FOR EACH ROW EXECUTE FUNCTION back()")
        return real(tx, rows)

    monkeypatch.setattr(table, "write_as_read", write)
    with offline.open() as ws:
        assert len(batch_ingest.run(ws)) == 1
    ledger.check(offline)
    assert offline.query("SELECT applied FROM findable_answers") == [(0,)] * 3


@pytest.mark.parametrize(
    ("change", "told", "tags"),
    [
        ("UPDATE experts SET bio = 'Now I teach chess.'", (1, 1), [WRITTEN]),
        ("UPDATE experts SET username = 'somebody else'", (0, 1), [None]),
        ("UPDATE experts SET hourly_rate = 80, profile_url = 'https://example.org/1'", (1, 0), [WRITTEN]),
        ("UPDATE experts SET tags = '[\"by hand\"]'", (0, 0), ['["by hand"]']),
        ("DELETE FROM experts", (0, 0), []),
    ],
)
def test_what_changes_while_answers_are_made_ready_is_seen(
    change: str, told: tuple[int, int], tags: list[str | None], offline: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row may change after it was read and before its answer is written: that counts as a change before both."""
    put_people(offline, 3)
    deliver(offline, result(prepare(offline)))
    with offline.open() as ws, _meanwhile(ws, monkeypatch, lambda _: offline.change(f"{change} WHERE id = 1")):
        assert len(batch_ingest.run(ws)) == 1
    ledger.check(offline)
    assert offline.query("SELECT applied, outdated FROM findable_answers ORDER BY item_id") == [told, (1, 0), (1, 0)]
    assert offline.query("SELECT tags FROM experts WHERE id = 1") == [(one,) for one in tags]
    cells = ", ".join(table.SCORED_BY)
    for points, *row in offline.query(f"SELECT findability_score, {cells} FROM experts WHERE tags LIKE '[\"w%'"):  # noqa: S608
        assert points == score_of(*row)


@pytest.mark.sampled(0)
def test_a_result_that_is_not_what_was_sealed_stops_its_batch_alone(offline: Workspace) -> None:
    """A changed, cut or lost result is exit 5 with its batch as it was; other batches are ingested and told."""
    for first in (0, 2):
        put_people(offline, 2, first=first)
        deliver(offline, result(prepare(offline)))
    path = offline.data / offline.scalar("SELECT result_file FROM findable_batches WHERE number = 1")
    data = path.read_bytes()
    for damaged, ingested in ((data.replace(b"water", b"later"), [2]), (data[:-5], []), (None, [])):
        path.unlink() if damaged is None else path.write_bytes(damaged)
        assert [account["batch"] for account in ingest(offline, code=5)] == ingested
        assert ledger.batches(offline) == ["downloaded", "ingested"]
    assert ledger.people(offline) == {"total": 4, "claimed": 2, "tagged": 2}
    path.write_bytes(data)
    assert [account["batch"] for account in ingest(offline)] == [1]


def test_an_account_that_does_not_add_up_ends_nothing(offline: Workspace) -> None:
    """Where a request is unaccounted for, its batch stays downloaded: exit 5; where its model is not known, exit 3."""
    put_people(offline, 3)
    deliver(offline, result(prepare(offline)))
    offline.change("UPDATE findable_batches SET model = 'gemini-1-ultra'")
    assert "gemini-1-ultra" in offline.ran("batch-ingest", code=3).stderr
    offline.change("UPDATE findable_batches SET model = :model", model=MODEL)
    offline.change("DELETE FROM findable_requests WHERE line = 2")
    assert "2 are accounted for" in offline.ran("batch-ingest", code=5).stderr
    assert ledger.batches(offline) == ["downloaded"]
