"""Test `batch-poll` with results in other forms, under other names, and with invalid bodies."""

import gzip
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.acceptance.product import Workspace
from tests.acceptance.result_lines import (
    encode_document,
    make_error_line,
    make_line,
    make_response,
    row_number,
    sort_by_row,
)
from tests.outside.answers import Json
from tests.outside.server import Outside, Whole

ROWS_PER_BATCH = 2
DOWNLOAD_SUFFIX = ":download"


def batch_index(keys: Sequence[str]) -> int:
    """Return the index of the batch that has these keys; ids of people count from 1."""
    return (row_number(sort_by_row(keys)[0]) - 1) // ROWS_PER_BATCH


def parse_line(key: str) -> Json:
    """Return a valid result line as a document."""
    document: Json = json.loads(make_line(key))
    return document


def make_lines(keys: Sequence[str]) -> bytes:
    """Return a result in the documented form."""
    return b"".join(make_line(key) + b"\n" for key in keys)


RESULT_FORMS: dict[str, Callable[[Sequence[str]], bytes]] = {
    "keys as numbers": lambda keys: b"\n".join(make_line(row_number(key)) for key in keys),
    "keys in metadata": lambda keys: b"\n".join(
        encode_document({"metadata": {"key": key}, "response": make_response()}) for key in keys
    ),
    "keys as numbers on some lines": lambda keys: (
        make_lines(keys[:1]) + make_line(row_number(keys[1]))
    ),
    "one list": lambda keys: json.dumps([parse_line(key) for key in keys]).encode(),
    "one list over several lines": lambda keys: json.dumps(
        [parse_line(key) | {"note": 'a "\\ ]}'} for key in keys], indent=1
    ).encode(),
    "objects over several lines": lambda keys: b"\r\n".join(
        json.dumps(parse_line(key), indent=2).encode() for key in keys
    ),
    "a list of lines with keys as numbers": lambda keys: (
        b"[\n" + b",\n".join(make_line(row_number(key)) for key in keys) + b"\n]\n"
    ),
    "errors that say nothing": lambda keys: b"\n".join(
        [make_line(keys[0], error=""), make_line(keys[1], error={"code": 0, "message": ""})]
    ),
}


def name_full_address(operation: Json, _result: bytes) -> Json:
    """Name the result by an address on another host that ends like a download."""
    name = operation["metadata"]["output"]["responsesFile"]
    address = f"https://files.invalid/v1beta/{name}:download?alt=media"
    operation["metadata"]["output"] = {"responsesFile": address}
    operation["response"] = {"responsesFile": address}
    return operation


def name_bare_id(operation: Json, _result: bytes) -> Json:
    """Name the result without its folder."""
    bare_id = operation["metadata"]["output"]["responsesFile"].removeprefix("files/")
    metadata = operation["metadata"] | {"output": {"responsesFile": bare_id}}
    return operation | {"metadata": metadata, "response": {}}


def inline_responses(operation: Json, result: bytes) -> Json:
    """Put the responses into the operation, with the keys in `metadata`."""
    entries = []
    for line in result.split(b"\n"):
        if line:
            document = json.loads(line)
            metadata = {"key": document["key"]}
            entries.append({"response": document["response"], "metadata": metadata})

    output = {"inlinedResponses": {"inlinedResponses": entries}}
    return operation | {
        "metadata": operation["metadata"] | {"output": output},
        "response": output,
    }


def drop_metadata(operation: Json, _result: bytes) -> Json:
    """Leave the metadata out, so that only `done` and `response` show the success."""
    return {"name": operation["name"], "done": True, "response": operation["response"]}


OPERATION_FORMS = (name_full_address, name_bare_id, inline_responses, drop_metadata)


def batch_number(operation: Json) -> int:
    """Return the number of the batch of an operation."""
    return int(operation["metadata"]["displayName"].rsplit("-", 3)[1])


def skip_waiting(server: Outside) -> None:
    """Let batches of the server end at once."""
    server.pending_s = 0
    server.running_s = 0


def count_downloads(server: Outside) -> int:
    """Return the number of downloads."""
    return sum(call.endswith(DOWNLOAD_SUFFIX) for call in server.calls)


@pytest.mark.promise("results")
def test_results_in_other_forms_and_under_other_names_are_read(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Each form and name of a result gives all answers, and a damaged file is downloaded again."""
    result_forms = list(RESULT_FORMS.values())
    batch_count = len(result_forms) + len(OPERATION_FORMS)

    def make_results(keys: Sequence[str]) -> bytes:
        """Return the result of a batch in the form of its number."""
        index = batch_index(keys)
        if index >= len(result_forms):
            return make_lines(keys)
        return result_forms[index](sort_by_row(keys))

    def change_operation(operation: Json, result: bytes) -> Json:
        """Name the result of an ended batch in the form of its number."""
        index = batch_number(operation) - 1 - len(result_forms)
        if index < 0 or not result:
            return operation
        return OPERATION_FORMS[index](operation, result)

    def send_gzipped(call: str) -> Whole | None:
        """Send each result gzipped and without a length."""
        if not call.endswith(DOWNLOAD_SUFFIX):
            return None
        name = call.rpartition("/")[2].removesuffix(DOWNLOAD_SUFFIX)
        [row] = outside_server.kept.rows("SELECT data FROM files WHERE id = ?", name)
        return 200, {"content-encoding": "gzip"}, gzip.compress(row["data"])

    outside_server.results = make_results
    outside_server.operations = change_operation
    outside_server.instead = send_gzipped
    skip_waiting(outside_server)
    served_workspace.import_people(ROWS_PER_BATCH * batch_count)
    served_workspace.run_command("submit", BATCH_ROWS=ROWS_PER_BATCH)
    report = served_workspace.read_json("poll", no_wait=True)
    assert len(report["downloaded"]) == batch_count

    sealed_paths = sorted((served_workspace.data / "batches").glob("*-results.jsonl"))
    for path in (sealed_paths[0], sealed_paths[3], sealed_paths[-2]):
        path.write_bytes(path.read_bytes()[:-9])
    assert served_workspace.run_command("poll").stderr.count("downloaded again, byte for byte") == 3

    served_workspace.run_command("ingest")
    assert served_workspace.state_counts() == {"tagged": ROWS_PER_BATCH * batch_count}
    # Inline responses need no download, and two of the damaged results were files.
    assert count_downloads(outside_server) == batch_count - 1 + 2


# Each kind of body, and its description in the message.
INVALID_BODIES: dict[str, str] = {
    "error": "an error (503: The service is currently unavailable.)",
    "empty": "an empty body",
    "gzip": "its gzip data end early",
    "keys": "bytes without a key of this batch",
    "cut": "a file that ends inside a line",
    "list": "the result ends inside an object or a list",
}
ERROR_DOCUMENT = {
    "error": {
        "code": 503,
        "message": "The service is currently unavailable.",
        "status": "UNAVAILABLE",
    }
}


def make_invalid_body(kind: str, keys: Sequence[str]) -> bytes:
    """Return an invalid body; the `gzip` body is cut when it is sent."""
    foreign_keys = [f"somebody-elses/{number}" for number in range(ROWS_PER_BATCH)]
    document_list = json.dumps([parse_line(key) for key in keys], indent=1).encode()
    bodies = {
        "error": json.dumps(ERROR_DOCUMENT).encode(),
        "empty": b"",
        "gzip": make_lines(keys),
        "keys": make_lines(foreign_keys),
        "cut": make_lines(keys)[:-40],
        "list": document_list[:-40],
    }
    return bodies[kind]


@pytest.mark.promise("results")
def test_invalid_result_body_leaves_the_batch_unchanged(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Each invalid body is named with exit code 4 and charges no row.

    `batch-cancel` gives up batches whose result cannot be read.
    """
    kinds = list(INVALID_BODIES)
    row_count = ROWS_PER_BATCH * len(kinds)
    gzip_batch = kinds.index("gzip") + 1

    def send_half_of_gzip(call: str) -> Whole | None:
        """Send half of the gzipped result of one batch, without a length."""
        if not call.endswith(DOWNLOAD_SUFFIX):
            return None
        remote_name = served_workspace.batches()[gzip_batch - 1]["remote_name"]
        if remote_name.removeprefix("batches/") not in call:
            return None
        packed = gzip.compress(make_lines(["experts/5", "experts/6"]))
        return 200, {"content-encoding": "gzip"}, packed[: len(packed) // 2]

    outside_server.results = lambda keys: make_invalid_body(kinds[batch_index(keys)], keys)
    skip_waiting(outside_server)
    served_workspace.import_people(row_count)
    served_workspace.run_command("submit", BATCH_ROWS=ROWS_PER_BATCH)
    outside_server.instead = send_half_of_gzip

    retry_settings: dict[str, Any] = {"RETRY_FOR": 0.02, "POLL_FIRST": 0.01, "POLL_PATIENCE": 60}
    error_output = served_workspace.run_command(
        "poll", no_wait=True, code=4, **retry_settings
    ).stderr
    error_lines = error_output.splitlines()
    for number, description in enumerate(INVALID_BODIES.values(), 1):
        batch_lines = [line for line in error_lines if f"the result of batch {number};" in line]
        assert any(description in line for line in batch_lines), (description, error_output)
    assert "give up the batch" in error_output
    assert set(served_workspace.batch_states()) == {"submitted"}
    assert served_workspace.state_counts() == {"claimed": row_count}
    assert {request["outcome"] for request in served_workspace.logged_requests()} == {None}

    # Only the cut file has a readable line.
    for number in range(1, len(kinds) + 1):
        served_workspace.run_command("cancel", number)
    poll_report = served_workspace.read_json("poll", **retry_settings)
    assert poll_report["downloaded"] == [kinds.index("cut") + 1]
    failure_reasons = set(poll_report["failed"].values())
    assert failure_reasons == {"succeeded, but its result is not available"}
    [ingest_report] = served_workspace.read_json("ingest")
    assert ingest_report["answered"] == ROWS_PER_BATCH - 1
    assert ingest_report["missing"] == 1
    assert served_workspace.state_counts() == {"tagged": 1, "open": row_count - 1}
    assert served_workspace.spending()["lost"] > 0, "abandoned results may have to be paid"


# Each case: the first bodies of a result with four lines; a number is that many of its lines.
UNSETTLED_BODIES: dict[str, list[bytes | int]] = {
    "a web page and an empty body first": [b"<html></html>", b"", 2],
    "a web page in the middle": [2, b"<html></html>", 2],
    "a file that grows": [1, 2, 3],
}


@pytest.mark.parametrize("bodies", UNSETTLED_BODIES.values(), ids=UNSETTLED_BODIES)
def test_short_result_is_not_used_while_its_downloads_differ(
    bodies: list[bytes | int], served_workspace: Workspace, outside_server: Outside
) -> None:
    """Only three readable downloads that do not grow make a short result the final result."""
    waiting_bodies = list(bodies)
    lines = [make_line(f"experts/{number}") + b"\n" for number in range(1, 5)]

    def send_next_body(call: str) -> Whole | None:
        """Send the next body in place of the result, and the result after the last body."""
        if not call.endswith(DOWNLOAD_SUFFIX) or not waiting_bodies:
            return None
        body = waiting_bodies.pop(0)
        return 200, {}, body if isinstance(body, bytes) else b"".join(lines[:body])

    skip_waiting(outside_server)
    outside_server.instead = send_next_body
    served_workspace.import_people(4)
    served_workspace.run_command("submit")
    poll_run = served_workspace.run_command("poll", no_wait=True, code=4)
    assert "Gemini sent only a part of the result of batch 1" in poll_run.stderr
    assert "its downloads still differ; the batch was not changed" in poll_run.stderr
    assert not waiting_bodies
    assert served_workspace.state_counts() == {"claimed": 4}
    assert not [*(served_workspace.data / "batches").glob("*.part*")]

    served_workspace.run_commands("poll", "ingest")
    assert served_workspace.state_counts() == {"tagged": 4}
    assert count_downloads(outside_server) == len(bodies) + 1


@pytest.mark.promise("unpaid")
def test_missing_lines_of_a_successful_batch_cost_their_estimate(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """A row without a line is charged at its estimate, which counts for costs and budgets."""
    served_workspace.import_people(4)
    outside_server.results = lambda keys: make_lines(sort_by_row(keys)[1:])
    served_workspace.run_commands("submit", "poll", "ingest")

    # An incomplete result is downloaded three times.
    assert count_downloads(outside_server) == 3
    [batch] = served_workspace.batches()
    assert (batch["answered"], batch["missing"]) == (3, 1)

    row_estimate = batch["estimated_cost"] / 4
    spent = served_workspace.spending()
    [cost_row] = served_workspace.read_json("costs")["rows"]
    assert spent["lost"] == pytest.approx(row_estimate, abs=1e-6)
    assert cost_row["lost"] == pytest.approx(row_estimate, abs=1e-6)
    budget = spent["actual"] + row_estimate * 1.5
    refused_run = served_workspace.run_command("submit", BUDGET_PER_DAY=f"{budget:.9f}", code=3)
    assert "BUDGET_PER_DAY" in refused_run.stderr


FAILED_STATES = ("FAILED", "EXPIRED", "CANCELLED")


def fail_with_unmatched_replies(server: Outside) -> None:
    """Let batches fail, each with a result in which one line belongs to a request."""
    unmatched_lines: tuple[Callable[[str], bytes], ...] = (
        lambda key: make_line(f"another-task/{key}"),
        lambda key: make_line(f"{key}000"),
        lambda _key: make_line("experts/1"),
    )

    def make_results(keys: Sequence[str]) -> bytes:
        """Return the first line unchanged, and an unmatched line for each other key."""
        first_key, *later_keys = sort_by_row(keys)
        lines = [make_line(first_key)]
        for number, key in enumerate(later_keys):
            make_unmatched_line = unmatched_lines[number % len(unmatched_lines)]
            lines.append(make_unmatched_line(key))
        return b"\n".join([*lines, b""])

    def fail_operation(operation: Json, result: bytes) -> Json:
        """Let an ended batch fail, but keep the name of its result."""
        if not result:
            return operation
        state = FAILED_STATES[batch_number(operation) % len(FAILED_STATES)]
        operation["metadata"]["state"] = f"BATCH_STATE_{state}"
        operation.pop("response", None)
        return operation | {"error": {"code": 13, "message": "Internal error"}}

    server.results = make_results
    server.operations = fail_operation
    skip_waiting(server)


@pytest.mark.promise("unpaid")
def test_budget_stops_a_tag_with_unmatched_replies(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Rows without a reply are sent again only as far as the budget allows."""
    served_workspace.import_people(18)
    fail_with_unmatched_replies(outside_server)
    budget = 1.5 * served_workspace.read_json("submit", dry=True)["estimated_cost"]
    for _ in range(3):
        served_workspace.try_command("tag", mode="batch", wait=True, BUDGET_PER_DAY=f"{budget:.9f}")
    assert sum(batch["estimated_cost"] for batch in served_workspace.batches()) <= budget
    assert served_workspace.state_counts()["open"] > 0


def test_common_failure_of_all_requests_is_reported_in_one_sentence(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """A failure with the same code for all requests is reported once with exit code 4.

    Failures of billing and permission charge no row.
    """

    def fail_all_requests(code: int, message: str) -> None:
        """Let every request of later batches fail with this error."""
        outside_server.results = lambda keys: b"\n".join(
            make_error_line(key, code, message) for key in keys
        )

    served_workspace.import_people(5)
    fail_all_requests(3, "Request contains an invalid argument.")
    served_workspace.run_command("submit", limit=2)
    served_workspace.run_command("poll")
    ingest_run = served_workspace.run_command("ingest", code=4)
    assert ingest_run.stderr.count("all 2 requests of batch 1 failed with code 3: Request c") == 1
    assert served_workspace.state_counts() == {"parked": 2, "open": 3}

    fail_all_requests(7, "Your project has been denied access.")
    served_workspace.run_command("tag", mode="batch", wait=True, code=4)
    assert served_workspace.state_counts() == {"parked": 2, "open": 3}

    # A second charged failure would park the three rows.
    fail_all_requests(14, "Unavailable.")
    served_workspace.run_command("tag", mode="batch", wait=True, code=4)
    assert served_workspace.state_counts() == {"parked": 2, "open": 3}
    assert served_workspace.spending()["lost"] == 0


def test_mixed_errors_of_the_account_stop_every_loop(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Two codes about the account, beside an answer, end `tag` and `work` with exit code 4."""
    served_workspace.import_people(5)
    account_errors = {7: "The caller does not have permission.", 16: "Invalid authentication."}

    def make_results(keys: Sequence[str]) -> bytes:
        """Answer the first request, and refuse the others with the two errors in turn."""
        first_key, *later_keys = sort_by_row(keys)
        lines = [make_line(first_key)]
        for number, key in enumerate(later_keys):
            code = list(account_errors)[number % 2]
            lines.append(make_error_line(key, code, account_errors[code]))
        return b"\n".join(lines)

    outside_server.results = make_results
    skip_waiting(outside_server)
    tag_run = served_workspace.run_command("tag", mode="batch", wait=True, code=4)
    assert "4 of 5 requests of batch 1 failed with code 7: The caller" in tag_run.stderr
    assert served_workspace.state_counts() == {"tagged": 1, "open": 4}
    assert len(outside_server.kept.created()) == 1

    # A pass sends, the next pass gets the errors and sends nothing.
    served_workspace.run_command("work", code=4)
    assert served_workspace.state_counts() == {"tagged": 2, "open": 3}
    assert len(outside_server.kept.created()) == 2
