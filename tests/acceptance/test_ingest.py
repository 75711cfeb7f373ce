"""`batch-ingest` on every kind of result file: what each line makes of its request, and that all of it adds up.

The server hands out whatever bytes a test thinks of.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.acceptance.checker import Look, check
from tests.acceptance.product import BATCH_PRICE, MODEL, OUTCOMES, Workspace
from tests.outside.server import Outside, serving

TAGS = '{"tags":["water law","beekeeping","soil science"]}'
TAGGED = ["water law", "beekeeping", "soil science"]
USAGE = {
    "promptTokenCount": 100,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 5,
    "totalTokenCount": 125,
}
ODD = ("unknown", "duplicates", "unreadable")
Lines = Sequence[bytes]
Spoil = Callable[[str], Lines]


def response(text: str | None = TAGS, *, finish: str = "STOP", **options: Any) -> dict[str, Any]:
    """Return a response with one candidate, without content where there is no text."""
    candidate: dict[str, Any] = {"finishReason": finish, "index": 0}
    if text is not None:
        candidate["content"] = {"parts": [{"text": text}], "role": "model"}
    return {
        "candidates": [candidate],
        "usageMetadata": USAGE,
        "modelVersion": MODEL,
        "responseId": "r-1",
        **options,
    }


def parts(*texts: dict[str, Any]) -> dict[str, Any]:
    """Return a response whose candidate has these parts, and no reason why it ended."""
    return {**response(), "candidates": [{"content": {"parts": [*texts]}}]}


def written(document: Any, *, is_ascii: bool = False) -> bytes:
    """Return one line."""
    return json.dumps(document, ensure_ascii=is_ascii, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )


def line(key: Any, body: Any = None, **options: Any) -> bytes:
    """Return one result line as the API writes it: the response first, then the key."""
    return written({"response": response() if body is None else body, **options, "key": key})


def error(key: Any, code: Any, message: str | None = "It failed.", **options: Any) -> bytes:
    """Return one error line."""
    return written(
        {
            "error": {"code": code, **({"message": message} if message else {})},
            **options,
            "key": key,
        }
    )


def says(text: str, **options: Any) -> Spoil:
    """Return one line whose candidate says this text."""
    return lambda key: [line(key, response(text, **options))]


def body(document: Any) -> Spoil:
    """Return one line with this response."""
    return lambda key: [line(key, document)]


def fails(code: Any, message: str | None = "It failed.", **options: Any) -> Spoil:
    """Return one error line."""
    return lambda key: [error(key, code, message, **options)]


def by_number(keys: Sequence[str]) -> list[str]:
    """Return keys in the order of their rows."""
    return sorted(keys, key=lambda key: int(key.rpartition("/")[2]))


def ingested(workspace: Workspace, outside: Outside, results: Callable[[list[str]], bytes]) -> Any:
    """Ask about everybody in one batch that comes back as these bytes; return what `batch-ingest` says of it."""
    outside.results = lambda keys: results(by_number(keys))
    workspace.each("submit", "poll")
    [account] = workspace.read("ingest")
    return account


@dataclass(frozen=True)
class Case:
    """What stands in a result file for one key, and what its request must come to."""

    name: str
    lines: Spoil
    outcome: str
    reason: str
    parked: bool = False


def ends(finish: str, text: str | None = None) -> Case:
    """Return the case of a candidate that ended with this finish reason."""
    blocked = {"SAFETY", "RECITATION", "PROHIBITED_CONTENT", "SPII", "BLOCKLIST", "OTHER"}
    reason = "blocked" if finish in blocked else "bad-finish"
    return Case(
        f"{finish} {text}",
        says(text, finish=finish) if text else body(response(None, finish=finish)),
        "refused",
        reason,
    )


def other_line(key: str) -> bytes:
    """Return a valid line with another answer than `line` has."""
    return line(key, response('{"tags":["another"]}'))


MISSING = ("missing", "no line in the result")
CASES = (
    # no line of its own
    Case("none", lambda _key: [], *MISSING),
    Case("key as another number", lambda key: [line(int(key.split("/")[1]) + 999_000)], *MISSING),
    Case("another key", lambda key: [line(f"{key}000")], *MISSING),
    Case("garbage", lambda _key: [b"%%% \xff\xfe not json"], *MISSING),
    Case("cut before its key", lambda key: [line(key)[:-30]], *MISSING),
    Case("no object", lambda key: [b'["key","%b"]' % key.encode()], *MISSING),
    # lines that are no JSON
    Case(
        "broken inside", lambda key: [line(key).replace(b'"role"', b'"ro')], "invalid", "unreadable"
    ),
    Case(
        "cut behind its key",
        lambda key: [b'{"key":"%b","response":{"cand' % key.encode()],
        "invalid",
        "unreadable",
    ),
    Case(
        "bad UTF-8",
        lambda key: [line(key).replace(b"water", b"w\xff\xfer")],
        "invalid",
        "unreadable",
    ),
    Case(
        "a surrogate",
        lambda key: [line(key).replace(b"water", b"w\xed\xa0\x80r")],
        "invalid",
        "unreadable",
    ),
    Case("NaN", lambda key: [line(key).replace(b":100", b":NaN")], "invalid", "unreadable"),
    Case(
        "deep",
        lambda key: [line(key, {**response(), "x": 0}).replace(b":0", b":" + b"[" * 9999)],
        "invalid",
        "unreadable",
    ),
    # error lines, with codes of both families
    *(
        Case(f"error {code}", fails(code), "refused", "error-line")
        for code in (4, 14, "13", 429, 503)
    ),
    *(
        Case(f"final {code}", fails(code), "refused", "error-line", parked=True)
        for code in (3, 5, 7, 9, 400, 403, 404)
    ),
    Case("no message", fails(13, None), "refused", "error-line"),
    Case("no code", fails(None), "refused", "error-line"),
    Case("error and response", fails(13, response=response()), "refused", "error-line"),
    Case(
        "error that is a text",
        lambda key: [written({"error": "no", "key": key})],
        "refused",
        "error-line",
    ),
    Case("error twice", lambda key: [error(key, 13), error(key, 14)], "refused", "error-line"),
    Case("neither", lambda key: [written({"key": key})], "refused", "no-response"),
    # no answer in a response
    Case("no candidates", body({**response(), "candidates": []}), "refused", "no-candidates"),
    Case(
        "prompt blocked",
        body({"promptFeedback": {"blockReason": "OTHER"}}),
        "refused",
        "prompt-blocked",
    ),
    Case("a list", body([]), "invalid", "unreadable"),
    *(
        ends(finish)
        for finish in ("SAFETY", "RECITATION", "PROHIBITED_CONTENT", "SPII", "BLOCKLIST", "OTHER")
    ),
    *(ends(finish, TAGS) for finish in ("SAFETY", "BRAND_NEW", "FINISH_REASON_UNSPECIFIED")),
    Case("cut by tokens", says(TAGS[:20], finish="MAX_TOKENS"), "invalid", "max-tokens"),
    Case("whole, but cut by tokens", says(TAGS, finish="MAX_TOKENS"), "invalid", "max-tokens"),
    Case("empty", says("  \n"), "refused", "empty"),
    Case("no content", body(response(None)), "refused", "empty"),
    # answers that are not what was asked for
    Case("Markdown", says(f"```json\n{TAGS}\n```"), "invalid", "does-not-parse"),
    Case("cut JSON", says(TAGS[:-3]), "invalid", "does-not-parse"),
    Case("a member twice", says('{"tags":["a"],"tags":["b"]}'), "invalid", "does-not-parse"),
    Case("NUL", says('{"tags":["water\\u0000law"]}'), "invalid", "does-not-parse"),
    Case(
        "half a surrogate pair", says('{"tags":["water \\ud800 law"]}'), "invalid", "does-not-parse"
    ),
    Case("deep JSON", says("[" * 99_999), "invalid", "does-not-parse"),
    Case(
        "another field", says('{"tags":["a"],"notes":"x"}'), "invalid", "does-not-validate: notes"
    ),
    Case("numbers", says('{"tags":[1,2]}'), "invalid", "does-not-validate: tags.0"),
    Case("only blank tags", says('{"tags":[" ","\\t"]}'), "invalid", "does-not-validate: tags"),
    Case(
        "twice and different",
        lambda key: [line(key), other_line(key)],
        "invalid",
        "different-answers",
    ),
    Case(
        "an error between different answers",
        lambda key: [line(key), error(key, 3), line(key), other_line(key)],
        "invalid",
        "different-answers",
    ),
)


def test_a_line_that_is_no_answer_costs_its_own_request(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """In one batch with a bad line of every kind, each is one failure with its reason, and parks where no try helps."""
    names = served_workspace.people(2 * len(CASES))

    def results(keys: list[str]) -> bytes:
        """Return the bad lines, and good ones behind them."""
        return b"\n".join(
            [one for case, key in zip(CASES, keys, strict=False) for one in case.lines(key)]
            + [line(key) for key in keys[len(CASES) :]]
        )

    account = ingested(served_workspace, outside_server, results)
    expected = Counter(case.outcome for case in CASES) | Counter(answered=len(CASES))
    assert {name: account[name] for name in OUTCOMES} == expected
    for case, one in zip(CASES, served_workspace.asked(), strict=False):
        assert (one["outcome"], one["reason"].startswith(case.reason)) == (case.outcome, True), (
            case.name,
            one,
        )
    parked = [name for name, case in zip(names, CASES, strict=False) if case.parked]
    assert sorted(served_workspace.parked()) == parked
    states = {"tagged": len(CASES), "parked": len(parked), "untagged": len(CASES) - len(parked)}
    assert served_workspace.states() == states
    told = [row for row in account["reasons"] if row["outcome"] in OUTCOMES]
    assert sum(row["count"] for row in told) == len(CASES)
    assert all(len(row["examples"]) <= 3 for row in told)
    assert all(len(said) <= 500 and "\n" not in said for row in told for _, said in row["examples"])


LARGEST = {
    "promptTokenCount": 2**31,
    "candidatesTokenCount": 2**30 - 1,
    "thoughtsTokenCount": 2**30 - 1,
}
ANSWERS: dict[str, Spoil] = {
    "as it is": lambda key: [line(key)],
    "key first": lambda key: [b'{"key":"%b","response":%b}' % (key.encode(), written(response()))],
    "key escaped": lambda key: [line(key).replace(b"expert-tags/", b"expert\\u002dtags\\/")],
    "no finish reason": body(parts({"text": TAGS})),
    "two parts": body(parts({"text": TAGS[:9]}, {"text": TAGS[9:]})),
    "a thought before": body(parts({"text": "hm", "thought": True}, {"text": TAGS})),
    "blanks inside lines": lambda key: [b" " + line(key) + b" \t"],
    "other members": lambda key: [line(key, status="ok", metadata={})],
    "empty error": lambda key: [line(key, error={})],
    "null error": lambda key: [line(key, error=None)],
    "counts as texts": body(
        {**response(), "usageMetadata": {"promptTokenCount": "100", "candidatesTokenCount": "25"}}
    ),
    "counts beyond all sense": body({**response(), "usageMetadata": LARGEST}),
    "separators": says('{"tags":["water law","bee\u2028keeping","soil\u0085science"]}'),
    "ten megabytes": says(TAGS + " " * 10_000_000),
    "twice": lambda key: [line(key), line(key)],
    "twice and equal once cleaned": lambda key: [
        line(key),
        line(key, response(TAGS.replace("water law", "Water  Law"))),
    ],
    "an error, then the answer": lambda key: [error(key, 13), line(key)],
    "a final error, then the answer": lambda key: [error(key, 3), line(key)],
    "the answer, then an error": lambda key: [line(key), error(key, 3)],
    "invalid, then the answer": lambda key: [line(key, response("{}")), line(key)],
    "garbage beside it": lambda key: [b"\x00\xff", line(key), b"{"],
}


def test_an_answer_is_taken_however_it_is_written(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """One valid answer is enough, whatever stands round it, however lines end."""
    names = served_workspace.people(len(ANSWERS))

    def results(keys: list[str]) -> bytes:
        """Begin with a byte order mark, and end lines in two ways."""
        lines = [
            one for spoil, key in zip(ANSWERS.values(), keys, strict=True) for one in spoil(key)
        ]
        return (
            b"\xef\xbb\xbf\n"
            + b"\n".join(lines[:9])
            + b"\n\n \t\r\n"
            + b"\r\n".join([*lines[9:], b""])
        )

    account = ingested(served_workspace, outside_server, results)
    assert (account["answered"], account["unknown"], account["unreadable"]) == (len(ANSWERS), 0, 2)
    tags = served_workspace.tags()
    for name, kind in zip(names, ANSWERS, strict=True):
        assert (tags[name][0], len(tags[name])) == ("water law", 3), kind


def test_a_row_with_two_different_answers_is_asked_once_more(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """The first time it is open again without an answer; if they differ again, it is parked."""
    names = served_workspace.people(3)

    def results(keys: list[str]) -> bytes:
        """Return a second and different answer for the first row."""
        return b"\n".join([*map(line, keys), other_line(keys[0])])

    account = ingested(served_workspace, outside_server, results)
    assert (account["answered"], account["invalid"], account["duplicates"]) == (2, 1, 1)
    assert served_workspace.states() == {"tagged": 2, "untagged": 1}
    assert served_workspace.tags()[names[0]] == []
    ingested(served_workspace, outside_server, results)
    reason = "it failed 2 times; last: different-answers (STOP)"
    assert served_workspace.parked() == {names[0]: reason}


@pytest.mark.alike
def test_lines_nobody_asked_for_are_counted_shown_and_never_applied(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Unknown keys, second lines and lines without a key are shown with their place."""
    served_workspace.people(2)

    def results(keys: list[str]) -> bytes:
        """Return two good lines and six others."""
        extra = [
            line("nobody/0"),
            line("expert-tags/999999"),
            line(7),
            line(keys[0]),
            b"%%%",
            written([1]),
        ]
        return b"\n".join([*map(line, keys), *extra, b""])

    account = ingested(served_workspace, outside_server, results)
    assert [account[name] for name in ("answered", *ODD)] == [2, 4, 1, 1]
    shown = {row["outcome"]: row["examples"] for row in account["reasons"]}
    assert shown["unknown"][0] == ["line 3", "nobody/0"]
    assert len(shown["unknown"]) == 3
    assert shown["duplicate"] == [["line 6", "expert-tags/1"]]
    assert shown["unreadable"][0][0] == "line 7"
    assert served_workspace.states() == {"tagged": 2}
    assert "nothing to ingest" in served_workspace.do("ingest").out


def test_usage_cost_and_where_it_comes_from_are_those_of_the_lines(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Tokens and cost are sums over the lines: thoughts as output, failures too, errors nothing. Tags are normalised.

    Of another model than the one that was asked it is told, and of a dated version of the same it is not.
    """
    names = served_workspace.people(4)
    before = {one["Username"]: one["findability_score"] for one in served_workspace.exported()}
    uses = [(8, 11, 829), (100, 20, 0), (31, 0, 0)]
    text = '{"tags":["  Water\\tLaw ","water law","BEEKEEPING","","bee  keeping"]}'
    bodies = [
        response(text),
        response('{"tags":[""]}'),
        {"promptFeedback": {"blockReason": "SAFETY"}},
    ]

    def results(keys: list[str]) -> bytes:
        """Return three lines with usage, and an error."""
        lines = []
        for key, answer, (asked, said, thought) in zip(keys, bodies, uses, strict=False):
            usage = {
                "promptTokenCount": asked,
                "candidatesTokenCount": said,
                "thoughtsTokenCount": thought,
            }
            lines.append(line(key, {**answer, "usageMetadata": usage}))
        return b"\n".join([*lines, error(keys[3], 13)])

    account = ingested(served_workspace, outside_server, results)
    prompt = 8 + 100 + 31
    output = 11 + 829 + 20
    cost = pytest.approx((prompt * BATCH_PRICE[0] + output * BATCH_PRICE[1]) / 1e6)
    assert (account["tokens_in"], account["tokens_out"], account["cost"]) == (prompt, output, cost)
    [batch] = served_workspace.batches()
    assert (batch["cost_is_actual"], batch["cost"]) == (True, cost)
    assert served_workspace.spent() == {
        "actual": pytest.approx(account["cost"], abs=1e-6),
        "estimated": 0,
        "lost": 0,
    }
    found = {one["Username"]: one for one in served_workspace.exported()}[names[0]]
    assert found["tags"] == ["water law", "beekeeping", "bee keeping"]
    assert found["findability_score"] == before[names[0]] + 25
    [answer] = served_workspace.read("show", names[0])["answers"]
    assert (answer["model_version"], answer["response_id"]) == (MODEL, "r-1")
    assert (answer["tokens_in"], answer["tokens_out"], answer["batch"]) == (8, 840, 1)
    versions = ["gemini-9-pro", f"{MODEL}-image", f"{MODEL}-002", f"models/{MODEL}", MODEL]
    served_workspace.people(2, first=4)
    outside_server.results = lambda keys: b"\n".join(
        line(key, response(modelVersion=version))
        for key, version in zip(by_number(keys), versions, strict=True)
    )
    served_workspace.each("submit", "poll")
    ingest_run = served_workspace.do("ingest")
    assert f"asked {MODEL}, answered by {MODEL}-image, gemini-9-pro\n" in ingest_run.err
    assert ("5 answers of 5" in ingest_run.out, ingest_run.out.count("\n")) == (True, 2)


@pytest.mark.alike
def test_a_result_that_is_not_what_was_sealed_stops_its_batch_alone(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """A changed, cut or lost result is exit 5 with its batch as it was; other batches are ingested and told."""
    served_workspace.people(4)
    outside_server.results = lambda keys: b"\n".join(map(line, keys))
    served_workspace.do("submit", BATCH_ROWS=2)
    served_workspace.do("poll")
    path = served_workspace.data / "batches" / "000001-results.jsonl"
    data = path.read_bytes()
    for damaged, others in ((data.replace(b"water", b"later"), [2]), (data[:-5], []), (None, [])):
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        ingest_run = served_workspace.run("ingest", json=True)
        assert (ingest_run.code, [account["batch"] for account in ingest_run.json]) == (5, others)
        assert served_workspace.batch_states() == ["downloaded", "ingested"]
    assert served_workspace.states() == {"claimed": 2, "tagged": 2}
    path.write_bytes(data)
    assert [account["batch"] for account in served_workspace.read("ingest")] == [1]


PEOPLE = 6
FILES = 15
# what one line may be, as its person's first line: its outcome, and how it is written; none, where it is nobody's line
KINDS: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "good": ("answered", line),
    "separators": ("answered", lambda key: line(key, response('{"tags":["soil\u2028science"]}'))),
    "other": ("answered", other_line),
    "error": ("refused", lambda key: error(key, 13)),
    "final": ("refused", lambda key: error(key, 3)),
    "blocked": ("refused", lambda key: line(key, {"promptFeedback": {"blockReason": "SAFETY"}})),
    "empty": ("refused", lambda key: line(key, response(""))),
    "unparsable": ("invalid", lambda key: line(key, response(TAGS[:9]))),
    "half a pair": ("invalid", lambda key: line(key, response('{"tags":["\\ud800"]}'))),
    "surrogate": ("invalid", lambda key: line(key).replace(b"water", b"w\xed\xa0\x80r")),
    "NaN": ("invalid", lambda key: line(key).replace(b":100", b":NaN")),
    "deep": ("invalid", lambda key: b'{"key":"%b","response":%b' % (key.encode(), b"[" * 5000)),
    "cut": ("", lambda key: line(key)[:-20]),
    "garbage": ("", lambda _key: b"\xff\x00 no json \xe2\x80\xa8"),
    "number": ("answered", lambda key: line(int(key.rpartition("/")[2]))),
    "unknown": ("", lambda key: line(f"{key}000")),
    "foreign": ("", lambda key: line(key.replace("expert-tags", "passages"))),
}
TAGS_OF = {"good": TAGGED, "number": TAGGED, "separators": ["soil science"], "other": ["another"]}
FileDrawn = tuple[list[tuple[int, str]], bytes, bytes]
files = st.tuples(
    st.lists(
        st.tuples(st.integers(0, PEOPLE - 1), st.sampled_from([*KINDS])), max_size=3 * PEOPLE
    ).map(
        # A file without a line of one of its requests is no result, and not taken.
        lambda lines: lines if any(KINDS[kind][0] for _, kind in lines) else [*lines, (0, "good")]
    ),
    st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
)


@pytest.mark.alike
@settings(
    max_examples=2, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(
    drawn=st.lists(files, min_size=FILES, max_size=FILES),
    ending=st.sampled_from(["SUCCEEDED", "EXPIRED"]),
)
def test_any_result_file_adds_up(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[FileDrawn], ending: str
) -> None:
    """Of any mixture of lines in any order each request has one outcome, and what is nobody's line is counted."""
    home = tmp_path_factory.mktemp("property")
    with serving(home / "outside", ending=ending) as outside:
        workspace = Workspace(home / "here", outside.url)
        names = workspace.people(PEOPLE * FILES)

        def results(keys: Sequence[str]) -> bytes:
            """Return the file of the batch that has these keys."""
            keys = by_number(keys)
            lines, end, mark = drawn[(int(keys[0].rpartition("/")[2]) - 1) // PEOPLE]
            return b"".join(
                [*[mark][: len(lines)], *(KINDS[kind][1](keys[who]) + end for who, kind in lines)]
            )

        outside.results = results
        workspace.do("submit", BATCH_ROWS=PEOPLE)
        workspace.do("poll")
        accounts = {
            one["batch"]: one for one in workspace.read("ingest", GATES="failed=off,parked=off")
        }
        mine = [kinds for lines, _, _ in drawn for kinds in _by_person(lines)]
        asked = workspace.asked()
        assert [one["outcome"] for one in asked] == [_outcome(kinds) for kinds in mine]
        for number, (lines, _, _) in enumerate(drawn, start=1):
            strays = Counter(kind for _, kind in lines if not KINDS[kind][0])
            twice = sum(max(0, len(kinds) - 1) for kinds in _by_person(lines))
            unknown = strays["unknown"] + strays["foreign"]
            found = [accounts[number][name] for name in ODD]
            assert found == [unknown, twice, strays["garbage"] + strays["cut"]], lines
        tags = workspace.tags()
        assert [tags[name] for name in names] == [
            [] if _differs(kinds) else TAGS_OF.get(_decides(kinds), []) for kinds in mine
        ]
        parked = [
            name for name, kinds in zip(names, mine, strict=True) if _decides(kinds) == "final"
        ]
        assert sorted(workspace.parked()) == parked
        assert workspace.read("ingest") == []
        check(Look(workspace, outside.batches(), outside.creates(), is_only=True))


def _by_person(lines: Sequence[tuple[int, str]]) -> Iterator[list[str]]:
    """Yield the kinds of each person's own lines, in the order of the file."""
    for person in range(PEOPLE):
        yield [kind for who, kind in lines if who == person and KINDS[kind][0]]


def _decides(kinds: list[str]) -> str:
    """Return the line that counts: the first answer, else the first failure, else none."""
    return next((kind for kind in kinds if kind in TAGS_OF), kinds[0] if kinds else "")


def _differs(kinds: list[str]) -> bool:
    """Return whether the lines of a person have more than one answer."""
    return len({tuple(TAGS_OF[kind]) for kind in kinds if kind in TAGS_OF}) > 1


def _outcome(kinds: list[str]) -> str:
    """Return what the request of a person with these lines must come to."""
    if _differs(kinds):
        return "invalid"
    return KINDS[_decides(kinds)][0] if kinds else "missing"
