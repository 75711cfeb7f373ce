"""Test `batch-ingest` with every kind of result file.

The outside server returns the bytes that a test chooses. Each line gives its request one
outcome, and the counts add up.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.acceptance.checker import Inspection, check_invariants
from tests.acceptance.product import BATCH_PRICE, MODEL, OUTCOMES, PROVIDER, Workspace
from tests.acceptance.result_lines import (
    TAGS,
    encode_document,
    make_error_line,
    make_line,
    make_response,
    row_number,
    sort_by_row,
)
from tests.outside.server import Outside, serving

CLEAN_TAGS = ["water law", "beekeeping", "soil science"]
UNMATCHED_KINDS = ("unknown", "duplicates", "unreadable")
Lines = Sequence[bytes]
LineMaker = Callable[[str], Lines]


def make_parts_response(*parts: dict[str, Any]) -> dict[str, Any]:
    """Return a response whose candidate has these parts and no finish reason."""
    return {**make_response(), "candidates": [{"content": {"parts": list(parts)}}]}


def answer_text(text: str, **options: Any) -> LineMaker:
    """Return a maker of a line with this text."""
    return lambda key: [make_line(key, make_response(text, **options))]


def answer_response(document: Any) -> LineMaker:
    """Return a maker of a line with this response."""
    return lambda key: [make_line(key, document)]


def answer_error(code: Any, message: str | None = "It failed.", **options: Any) -> LineMaker:
    """Return a maker of an error line."""
    return lambda key: [make_error_line(key, code, message, **options)]


def ingest_results(
    workspace: Workspace, server: Outside, make_results: Callable[[list[str]], bytes]
) -> Any:
    """Send all people in one batch with these results, and return the report of `ingest`.

    Control requests are refused, which proves nothing.
    """

    def make_all_results(keys: Sequence[str]) -> bytes:
        """Return the results of the rows, and a refusal for each control request."""
        row_keys = [key for key in keys if "/" in key]
        refusals = [make_error_line(key, 13) for key in keys if key not in row_keys]
        return b"\n".join([make_results(sort_by_row(row_keys)), *refusals])

    server.results = make_all_results
    workspace.run_commands("submit", "poll")
    [report] = workspace.read_json("ingest")
    return report


@dataclass(frozen=True)
class Case:
    """Lines of a key in a result file, and the expected outcome of the request."""

    name: str
    lines: LineMaker
    outcome: str
    reason: str
    parked: bool = False


def finish_reason_case(finish: str, text: str | None = None) -> Case:
    """Return the case of a candidate with this finish reason."""
    blocked = {"SAFETY", "RECITATION", "PROHIBITED_CONTENT", "SPII", "BLOCKLIST", "OTHER"}
    reason = "blocked" if finish in blocked else "bad-finish"
    lines = answer_response(make_response(None, finish=finish))
    if text:
        lines = answer_text(text, finish=finish)
    return Case(f"{finish} {text}", lines, "refused", reason)


def make_different_line(key: str) -> bytes:
    """Return a valid line whose answer differs from that of `make_line`."""
    return make_line(key, make_response('{"tags":["another"]}'))


MISSING_OUTCOME = ("missing", "no line in the result")
CASES = (
    # The request has no line.
    Case("none", lambda _key: [], *MISSING_OUTCOME),
    Case(
        "key as another number",
        lambda key: [make_line(int(key.split("/")[1]) + 999_000)],
        *MISSING_OUTCOME,
    ),
    Case("another key", lambda key: [make_line(f"{key}000")], *MISSING_OUTCOME),
    Case("garbage", lambda _key: [b"%%% \xff\xfe not json"], *MISSING_OUTCOME),
    Case("cut before its key", lambda key: [make_line(key)[:-30]], *MISSING_OUTCOME),
    Case("no object", lambda key: [b'["key","%b"]' % key.encode()], *MISSING_OUTCOME),
    # The line is not JSON.
    Case(
        "broken inside",
        lambda key: [make_line(key).replace(b'"role"', b'"ro')],
        "invalid",
        "unreadable",
    ),
    Case(
        "cut behind its key",
        lambda key: [b'{"key":"%b","response":{"cand' % key.encode()],
        "invalid",
        "unreadable",
    ),
    Case(
        "bad UTF-8",
        lambda key: [make_line(key).replace(b"water", b"w\xff\xfer")],
        "invalid",
        "unreadable",
    ),
    Case(
        "a surrogate",
        lambda key: [make_line(key).replace(b"water", b"w\xed\xa0\x80r")],
        "invalid",
        "unreadable",
    ),
    Case(
        "deep",
        lambda key: [
            make_line(key, {**make_response(), "x": 0}).replace(b":0", b":" + b"[" * 9999)
        ],
        "invalid",
        "unreadable",
    ),
    # The line is an error, with codes of gRPC and of HTTP.
    *(
        Case(f"error {code}", answer_error(code), "refused", "error-line")
        for code in (4, 14, "13", 429, 503)
    ),
    *(
        Case(f"final {code}", answer_error(code), "refused", "error-line", parked=True)
        for code in (3, 5, 7, 9, 400, 403, 404)
    ),
    Case("no message", answer_error(13, None), "refused", "error-line"),
    Case("no code", answer_error(None), "refused", "error-line"),
    Case("error and response", answer_error(13, response=make_response()), "refused", "error-line"),
    Case(
        "error that is a text",
        lambda key: [encode_document({"error": "no", "key": key})],
        "refused",
        "error-line",
    ),
    Case(
        "error twice",
        lambda key: [make_error_line(key, 13), make_error_line(key, 14)],
        "refused",
        "error-line",
    ),
    Case("neither", lambda key: [encode_document({"key": key})], "refused", "no-response"),
    # The response contains no answer.
    Case(
        "no candidates",
        answer_response({**make_response(), "candidates": []}),
        "refused",
        "no-candidates",
    ),
    Case(
        "prompt blocked",
        answer_response({"promptFeedback": {"blockReason": "OTHER"}}),
        "refused",
        "prompt-blocked",
    ),
    Case("a list", answer_response([]), "invalid", "unreadable"),
    *(
        finish_reason_case(finish)
        for finish in ("SAFETY", "RECITATION", "PROHIBITED_CONTENT", "SPII", "BLOCKLIST", "OTHER")
    ),
    *(
        finish_reason_case(finish, TAGS)
        for finish in ("SAFETY", "BRAND_NEW", "FINISH_REASON_UNSPECIFIED")
    ),
    Case("cut by tokens", answer_text(TAGS[:20], finish="MAX_TOKENS"), "invalid", "max-tokens"),
    Case(
        "whole, but cut by tokens", answer_text(TAGS, finish="MAX_TOKENS"), "invalid", "max-tokens"
    ),
    Case("empty", answer_text("  \n"), "refused", "empty"),
    Case("no content", answer_response(make_response(None)), "refused", "empty"),
    # The answer does not match the schema.
    Case("Markdown", answer_text(f"```json\n{TAGS}\n```"), "invalid", "does-not-parse"),
    Case("cut JSON", answer_text(TAGS[:-3]), "invalid", "does-not-parse"),
    Case("a member twice", answer_text('{"tags":["a"],"tags":["b"]}'), "invalid", "does-not-parse"),
    Case("NUL", answer_text('{"tags":["water\\u0000law"]}'), "invalid", "does-not-parse"),
    Case(
        "half a surrogate pair",
        answer_text('{"tags":["water \\ud800 law"]}'),
        "invalid",
        "does-not-parse",
    ),
    Case("deep JSON", answer_text("[" * 99_999), "invalid", "does-not-parse"),
    Case(
        "another field",
        answer_text('{"tags":["a"],"notes":"x"}'),
        "invalid",
        "does-not-validate: notes",
    ),
    Case("numbers", answer_text('{"tags":[1,2]}'), "invalid", "does-not-validate: tags.0"),
    Case(
        "twice and different",
        lambda key: [make_line(key), make_different_line(key)],
        "invalid",
        "different-answers",
    ),
    Case(
        "an error between different answers",
        lambda key: [
            make_line(key),
            make_error_line(key, 3),
            make_line(key),
            make_different_line(key),
        ],
        "invalid",
        "different-answers",
    ),
)


# Less than a tenth of the lines cannot be read.
VALID_ROWS = 2 * len(CASES)


@pytest.mark.alike
def test_unusable_line_fails_only_its_own_request(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Each unusable line fails its own request with a reason, and a final error parks the row."""
    names = served_workspace.import_people(VALID_ROWS + len(CASES))

    def make_results(keys: list[str]) -> bytes:
        """Return the unusable lines, and valid lines after them, so that the batch is not held."""
        lines = list[bytes]()
        for case, key in zip(CASES, keys, strict=False):
            lines += case.lines(key)
        lines += [make_line(key) for key in keys[len(CASES) :]]
        return b"\n".join(lines)

    report = ingest_results(served_workspace, outside_server, make_results)
    expected_counts = Counter(case.outcome for case in CASES) | Counter(answered=VALID_ROWS)
    assert {name: report[name] for name in OUTCOMES} == expected_counts

    for case, request in zip(CASES, served_workspace.logged_requests(), strict=False):
        assert request["outcome"] == case.outcome, (case.name, request)
        assert request["reason"].startswith(case.reason), (case.name, request)

    parked_names = [name for name, case in zip(names, CASES, strict=False) if case.parked]
    assert sorted(served_workspace.parked_reasons()) == parked_names
    untagged_count = len(CASES) - len(parked_names)
    assert served_workspace.state_counts() == {
        "tagged": VALID_ROWS,
        "parked": len(parked_names),
        "open": untagged_count,
    }


def test_reply_without_token_counts_may_have_cost_its_estimate(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Each reply without a readable count counts at the mean estimate, also beside counted ones."""
    served_workspace.import_people(5)
    unreadable_usage = {"totalTokenCount": "many"}
    negative_usage = {"promptTokenCount": 400, "candidatesTokenCount": -500}

    def make_results(keys: list[str]) -> bytes:
        """Return a counted reply, three replies without counts, and an invalid one without."""
        responses = [
            make_response(),
            {**make_response(), "usageMetadata": unreadable_usage},
            {**make_response(), "usageMetadata": None},
            {**make_response(), "usageMetadata": negative_usage},
            {**make_response("no JSON"), "usageMetadata": {}},
        ]
        return b"\n".join(map(make_line, keys, responses))

    ingest_results(served_workspace, outside_server, make_results)
    spending = served_workspace.spending()
    [batch] = served_workspace.batches()
    assert spending["actual"] == pytest.approx(batch["cost"], abs=1e-6)
    assert spending["lost"] == pytest.approx(batch["estimated_cost"] * 4 / 5, abs=1e-6)


MAX_TOKEN_COUNTS = {
    "promptTokenCount": 2**31,
    "candidatesTokenCount": 2**30 - 1,
    "thoughtsTokenCount": 2**30 - 1,
}
ANSWERS: dict[str, LineMaker] = {
    "as it is": lambda key: [make_line(key)],
    "key first": lambda key: [
        b'{"key":"%b","response":%b}' % (key.encode(), encode_document(make_response()))
    ],
    "key escaped": lambda key: [make_line(key).replace(b"experts/", b"experts\\/")],
    "no finish reason": answer_response(make_parts_response({"text": TAGS})),
    "two parts": answer_response(make_parts_response({"text": TAGS[:9]}, {"text": TAGS[9:]})),
    "a thought before": answer_response(
        make_parts_response({"text": "hm", "thought": True}, {"text": TAGS})
    ),
    "blanks inside lines": lambda key: [b" " + make_line(key) + b" \t"],
    "other members": lambda key: [make_line(key, status="ok", metadata={})],
    "empty error": lambda key: [make_line(key, error={})],
    "null error": lambda key: [make_line(key, error=None)],
    "counts as texts": answer_response(
        {
            **make_response(),
            "usageMetadata": {"promptTokenCount": "100", "candidatesTokenCount": "25"},
        }
    ),
    "counts beyond all sense": answer_response(
        {**make_response(), "usageMetadata": MAX_TOKEN_COUNTS}
    ),
    "separators": answer_text('{"tags":["water law","bee\u2028keeping","soil\u0085science"]}'),
    "NaN": lambda key: [make_line(key).replace(b":100", b":NaN")],
    "more than a float": lambda key: [make_line(key).replace(b":100", b":-1e400")],
    "more than an integer": lambda key: [make_line(key).replace(b":100", b":" + b"7" * 5000)],
    "a comma after it": lambda key: [make_line(key) + b" ,"],
    "ten megabytes": answer_text(TAGS + " " * 10_000_000),
    "twice": lambda key: [make_line(key), make_line(key)],
    "twice and equal once cleaned": lambda key: [
        make_line(key),
        make_line(key, make_response(TAGS.replace("water law", "Water  Law"))),
    ],
    "an error, then the answer": lambda key: [make_error_line(key, 13), make_line(key)],
    "a final error, then the answer": lambda key: [make_error_line(key, 3), make_line(key)],
    "the answer, then an error": lambda key: [make_line(key), make_error_line(key, 3)],
    "invalid, then the answer": lambda key: [make_line(key, make_response("{}")), make_line(key)],
    "garbage beside it": lambda key: [b"\x00\xff", make_line(key), b"{"],
}


@pytest.mark.alike
def test_valid_answer_is_stored_in_any_notation(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """A valid answer is stored in any notation, with any other lines and any line ends."""
    names = served_workspace.import_people(len(ANSWERS))

    def make_results(keys: list[str]) -> bytes:
        """Return the lines after a byte order mark, with two kinds of line ends."""
        lines = list[bytes]()
        for make_lines, key in zip(ANSWERS.values(), keys, strict=True):
            lines += make_lines(key)
        first_lines = b"\n".join(lines[:9])
        last_lines = b"\r\n".join([*lines[9:], b""])
        return b"\xef\xbb\xbf\n" + first_lines + b"\n\n \t\r\n" + last_lines

    report = ingest_results(served_workspace, outside_server, make_results)
    assert report["answered"] == len(ANSWERS)
    assert (report["unknown"], report["unreadable"]) == (0, 2)
    tags = served_workspace.exported_tags()
    for name, case_name in zip(names, ANSWERS, strict=True):
        assert (tags[name][0], len(tags[name])) == ("water law", 3), case_name


@pytest.mark.alike
@pytest.mark.promise("conflict")
def test_row_with_two_different_answers_is_sent_once_more(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """A row with two different answers is open again, and is parked after the second time."""
    names = served_workspace.import_people(3)

    def make_results(keys: list[str]) -> bytes:
        """Return a second and different answer for the first row."""
        return b"\n".join([*map(make_line, keys), make_different_line(keys[0])])

    report = ingest_results(served_workspace, outside_server, make_results)
    assert (report["answered"], report["invalid"], report["duplicates"]) == (2, 1, 1)
    assert served_workspace.state_counts() == {"tagged": 2, "open": 1}
    assert served_workspace.exported_tags()[names[0]] == []

    ingest_results(served_workspace, outside_server, make_results)
    reason = "it failed 2 times; last: different-answers (STOP)"
    assert served_workspace.parked_reasons() == {names[0]: reason}


@pytest.mark.promise("outcomes")
def test_repeated_line_is_called_so(served_workspace: Workspace, outside_server: Outside) -> None:
    """A second line for a key is not said to belong to no request."""
    served_workspace.import_people(2)
    outside_server.results = lambda keys: b"\n".join(map(make_line, [*keys, keys[0]]))
    served_workspace.run_commands("submit", "poll")
    error_output = served_workspace.run_command("ingest").stderr
    expected = (
        "1 result line not stored, and not in the known cost (second line for the same key: 1)"
    )
    assert expected in error_output


@pytest.mark.alike
@pytest.mark.promise("outcomes")
def test_lines_without_a_request_are_counted_and_not_applied(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Unknown keys, second lines and lines without a key are counted and shown by line number."""
    served_workspace.import_people(2)

    def make_results(keys: list[str]) -> bytes:
        """Return two valid lines and six unmatched lines."""
        unmatched_lines = [
            make_line("nobody/0"),
            make_line("experts/999999"),
            make_line(7),
            make_line(keys[0]),
            b"%%%",
            encode_document([1]),
        ]
        return b"\n".join([*map(make_line, keys), *unmatched_lines, b""])

    report = ingest_results(served_workspace, outside_server, make_results)

    assert [report[name] for name in ("answered", *UNMATCHED_KINDS)] == [2, 4, 1, 1]

    examples = {row["outcome"]: row["examples"] for row in report["reasons"]}
    assert examples["unknown"][0] == ["line 3", "nobody/0"]
    assert len(examples["unknown"]) == 3
    assert examples["duplicate"] == [["line 6", "experts/1"]]
    assert examples["unreadable"][0][0] == "line 7"

    assert served_workspace.state_counts() == {"tagged": 2}
    assert "nothing to ingest" in served_workspace.run_command("ingest").stdout


@pytest.mark.alike
@pytest.mark.promise("spending")
def test_tokens_cost_tags_and_model_come_from_the_lines(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Tokens and cost are sums over the lines: thoughts are output, and error lines are free.

    Tags are normalised.
    """
    names = served_workspace.import_people(4)
    exported_people = served_workspace.exported_rows()
    scores_before = {row["Username"]: row["findability_score"] for row in exported_people}
    # Tokens of the prompt, of the answer and of the thoughts.
    token_counts = [(8, 11, 829), (100, 20, 0), (31, 0, 0)]
    text = '{"tags":["  Water\\tLaw ","water law","BEEKEEPING","","bee  keeping"]}'
    responses = [
        make_response(text),
        make_response('{"tags":[7]}'),
        {"promptFeedback": {"blockReason": "SAFETY"}},
    ]

    def make_results(keys: list[str]) -> bytes:
        """Return three lines with usage, and an error."""
        lines = []
        for key, response, counts in zip(keys, responses, token_counts, strict=False):
            prompt_tokens, answer_tokens, thought_tokens = counts
            usage = {
                "promptTokenCount": prompt_tokens,
                "candidatesTokenCount": answer_tokens,
                "thoughtsTokenCount": thought_tokens,
            }
            lines.append(make_line(key, {**response, "usageMetadata": usage}))
        return b"\n".join([*lines, make_error_line(keys[3], 13)])

    report = ingest_results(served_workspace, outside_server, make_results)
    input_tokens = 8 + 100 + 31
    output_tokens = 11 + 829 + 20
    price = input_tokens * BATCH_PRICE[0] + output_tokens * BATCH_PRICE[1]
    cost = pytest.approx(price / 1e6)
    assert (report["tokens_in"], report["tokens_out"]) == (input_tokens, output_tokens)
    assert report["cost"] == cost
    [batch] = served_workspace.batches()
    assert (batch["cost_is_actual"], batch["cost"]) == (True, cost)
    assert served_workspace.spending() == {
        "actual": pytest.approx(report["cost"], abs=1e-6),
        "estimated": 0,
        "lost": 0,
    }

    people_by_name = {row["Username"]: row for row in served_workspace.exported_rows()}
    person = people_by_name[names[0]]
    assert person["tags"] == ["water law", "beekeeping", "bee keeping"]
    assert person["findability_score"] == scores_before[names[0]] + 25
    [answer] = served_workspace.read_json("show", names[0])["answers"]
    assert (answer["model_version"], answer["response_id"]) == (MODEL, "r-1")
    assert (answer["tokens_in"], answer["tokens_out"], answer["batch"]) == (8, 840, 1)


# The checker multiplies usage by the price of the model that was asked.
@pytest.mark.excused("spend_adds_up")
def test_answers_of_another_model_cost_its_price(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """If Gemini lets another model answer, the cost is that model's, by batch and live."""
    served_workspace.import_people(2)
    response = make_response(modelVersion="models/gemini-2.5-pro-002")
    report = ingest_results(
        served_workspace,
        outside_server,
        lambda keys: b"\n".join(make_line(key, response) for key in keys),
    )
    # USD per million tokens by batch: 0.625 for input, 5 for output.
    assert report["cost"] == pytest.approx(2 * (100 * 0.625 + 25 * 5.0) / 1e6)

    served_workspace.import_people(1, first=2)
    outside_server.replies = lambda reply: {**reply, "modelVersion": "gemini-2.5-pro"}
    live_run = served_workspace.run_command("tag_live")
    assert f"asked {MODEL}, answered by gemini-2.5-pro, which sets the price" in live_run.stderr


@pytest.mark.alike
def test_damaged_result_file_stops_only_its_batch(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """A changed, cut or lost result file fails its batch with exit 5, and others are ingested."""
    served_workspace.import_people(4)
    outside_server.results = lambda keys: b"\n".join(map(make_line, keys))
    served_workspace.run_command("submit", BATCH_ROWS=2)
    served_workspace.run_command("poll")
    path = served_workspace.data / "batches" / "000001-results.jsonl"
    sealed_bytes = path.read_bytes()
    changed_bytes = sealed_bytes.replace(b"water", b"later")

    for content, ingested_batches in ((changed_bytes, [2]), (sealed_bytes[:-5], []), (None, [])):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        ingest_run = served_workspace.try_command("ingest", json=True)
        assert ingest_run.code == 5
        assert [report["batch"] for report in ingest_run.json] == ingested_batches
        assert served_workspace.batch_states() == ["downloaded", "ingested"]
    assert served_workspace.state_counts() == {"claimed": 2, "tagged": 2}

    path.write_bytes(sealed_bytes)
    assert [report["batch"] for report in served_workspace.read_json("ingest")] == [1]


PEOPLE_PER_FILE = 6
FILE_COUNT = 15
# Each kind of line: the outcome of its request if it is the first line, and the maker of the line.
# A kind without an outcome belongs to no request.
LINE_KINDS: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "good": ("answered", make_line),
    "separators": (
        "answered",
        lambda key: make_line(key, make_response('{"tags":["soil\u2028science"]}')),
    ),
    "other": ("answered", make_different_line),
    "error": ("refused", lambda key: make_error_line(key, 13)),
    "final": ("refused", lambda key: make_error_line(key, 3)),
    "blocked": (
        "refused",
        lambda key: make_line(key, {"promptFeedback": {"blockReason": "SAFETY"}}),
    ),
    "empty": ("refused", lambda key: make_line(key, make_response(""))),
    "unparsable": ("invalid", lambda key: make_line(key, make_response(TAGS[:9]))),
    "half a pair": ("invalid", lambda key: make_line(key, make_response('{"tags":["\\ud800"]}'))),
    "surrogate": ("invalid", lambda key: make_line(key).replace(b"water", b"w\xed\xa0\x80r")),
    "NaN": ("answered", lambda key: make_line(key).replace(b":100", b":NaN")),
    "deep": ("invalid", lambda key: b'{"key":"%b","response":%b' % (key.encode(), b"[" * 5000)),
    "cut": ("", lambda key: make_line(key)[:-20]),
    "garbage": ("", lambda _key: b"\xff\x00 no json \xe2\x80\xa8"),
    "number": ("answered", lambda key: make_line(row_number(key))),
    "unknown": ("", lambda key: make_line(f"{key}000")),
    "foreign": ("", lambda key: make_line(key.replace("experts", "passages"))),
}
TAGS_OF_KIND = {
    "good": CLEAN_TAGS,
    "number": CLEAN_TAGS,
    "NaN": CLEAN_TAGS,
    "separators": ["soil science"],
    "other": ["another"],
}
# Lines that are not JSON.
BROKEN_KINDS = ("surrogate", "deep", "cut", "garbage")
# The index of a person in the file, and the kind of the line.
DrawnLine = tuple[int, str]
# The lines of a file, the line end, and the byte order mark.
DrawnFile = tuple[list[DrawnLine], bytes, bytes]


def _ensure_matched_line(lines: list[DrawnLine]) -> list[DrawnLine]:
    """Add a good line if no line belongs to a request; such a file is not accepted as a result."""
    if any(LINE_KINDS[kind][0] for _, kind in lines):
        return lines
    return [*lines, (0, "good")]


drawn_lines = st.tuples(st.integers(0, PEOPLE_PER_FILE - 1), st.sampled_from([*LINE_KINDS]))
drawn_files = st.tuples(
    st.lists(drawn_lines, max_size=3 * PEOPLE_PER_FILE).map(_ensure_matched_line),
    st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
)


@pytest.mark.alike
@pytest.mark.skipif(PROVIDER != "gemini", reason="the outside server speaks Gemini's form only")
@settings(
    max_examples=2, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(
    files=st.lists(drawn_files, min_size=FILE_COUNT, max_size=FILE_COUNT),
    batch_end=st.sampled_from(["SUCCEEDED", "EXPIRED"]),
)
def test_counts_of_any_result_file_add_up(
    tmp_path_factory: pytest.TempPathFactory, files: list[DrawnFile], batch_end: str
) -> None:
    """Each request gets one outcome from any mixture of lines, and unmatched lines are counted."""
    home = tmp_path_factory.mktemp("property")
    with serving(home / "outside", ending=batch_end) as server:
        workspace = Workspace(home / "here", server.url)
        names = workspace.import_people(PEOPLE_PER_FILE * FILE_COUNT)

        def make_results(keys: Sequence[str]) -> bytes:
            """Return the file of the batch that has these keys."""
            sorted_keys = sort_by_row(keys)
            file_index = (row_number(sorted_keys[0]) - 1) // PEOPLE_PER_FILE
            return _encode_file(files[file_index], sorted_keys)

        server.results = make_results
        workspace.run_command("submit", BATCH_ROWS=PEOPLE_PER_FILE)
        workspace.run_command("poll")
        gates = "failed=off,parked=off"
        reports = workspace.read_json("ingest", GATES=gates, code="any")
        # A batch with many broken lines is held, until a person accepts it.
        for number, (lines, _, _) in enumerate(files, start=1):
            broken_count = sum(kind in BROKEN_KINDS for _, kind in lines)
            if broken_count > max(1, len(lines) / 10):
                reports += workspace.read_json("ingest", accept=number, GATES=gates, code="any")
        reports_by_batch = {report["batch"]: report for report in reports}

        kinds_by_request = list[list[str]]()
        for lines, _, _ in files:
            kinds_by_request += _matched_kinds(lines)
        outcomes = [request["outcome"] for request in workspace.logged_requests()]
        assert outcomes == [_expected_outcome(kinds) for kinds in kinds_by_request]

        for number, (lines, _, _) in enumerate(files, start=1):
            report = reports_by_batch[number]
            unmatched = Counter(kind for _, kind in lines if not LINE_KINDS[kind][0])
            unknown = unmatched["unknown"] + unmatched["foreign"]
            duplicates = sum(max(0, len(kinds) - 1) for kinds in _matched_kinds(lines))
            unreadable = unmatched["garbage"] + unmatched["cut"]
            counts = [report[name] for name in UNMATCHED_KINDS]
            assert counts == [unknown, duplicates, unreadable], lines

        tags = workspace.exported_tags()
        assert [tags[name] for name in names] == list(map(_expected_tags, kinds_by_request))
        kinds_by_name = zip(names, kinds_by_request, strict=True)
        parked_names = [name for name, kinds in kinds_by_name if _decisive_kind(kinds) == "final"]
        assert sorted(workspace.parked_reasons()) == parked_names
        assert workspace.read_json("ingest") == []
        check_invariants(Inspection(workspace, server.batches(), server.creates(), is_single=True))


def _encode_file(file: DrawnFile, keys: Sequence[str]) -> bytes:
    """Return the bytes of a file; an empty file has no byte order mark."""
    lines, line_end, byte_order_mark = file
    content = byte_order_mark if lines else b""
    for person_index, kind in lines:
        _, make_kind_of_line = LINE_KINDS[kind]
        content += make_kind_of_line(keys[person_index]) + line_end
    return content


def _matched_kinds(lines: Sequence[DrawnLine]) -> Iterator[list[str]]:
    """Yield the kinds of each person's own lines, in the order of the file."""
    matched_lines = [(index, kind) for index, kind in lines if LINE_KINDS[kind][0]]
    for person_index in range(PEOPLE_PER_FILE):
        yield [kind for index, kind in matched_lines if index == person_index]


def _decisive_kind(kinds: list[str]) -> str:
    """Return the kind of the first answer, else of the first failure, else an empty string."""
    first_kind = kinds[0] if kinds else ""
    return next((kind for kind in kinds if kind in TAGS_OF_KIND), first_kind)


def _has_different_answers(kinds: list[str]) -> bool:
    """Return whether the lines of a person have more than one answer."""
    return len({tuple(TAGS_OF_KIND[kind]) for kind in kinds if kind in TAGS_OF_KIND}) > 1


def _expected_outcome(kinds: list[str]) -> str:
    """Return the outcome of the request of a person with these lines."""
    if _has_different_answers(kinds):
        return "invalid"
    return LINE_KINDS[_decisive_kind(kinds)][0] if kinds else "missing"


def _expected_tags(kinds: list[str]) -> list[str]:
    """Return the tags of a person with these lines."""
    if _has_different_answers(kinds):
        return []
    return TAGS_OF_KIND.get(_decisive_kind(kinds), [])
