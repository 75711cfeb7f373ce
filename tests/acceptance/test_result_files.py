"""`batch-poll` on results in other forms and under other names, and on bodies that are no result at all."""

import gzip
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.acceptance.product import Workspace
from tests.acceptance.test_ingest import by_number, error, line, response, written
from tests.outside.answers import Json
from tests.outside.server import Outside, Whole

PER_BATCH = 2
DOWNLOAD = ":download"


def batch_index(keys: Sequence[str]) -> int:
    """Return which batch has these keys, counted from 0; people's ids count from 1."""
    return (int(by_number(keys)[0].split("/")[1]) - 1) // PER_BATCH


def row_number(key: str) -> int:
    """Return the id of a row by its key."""
    return int(key.split("/")[1])


def entry(key: str) -> Json:
    """Return one good result line as a document."""
    document: Json = json.loads(line(key))
    return document


def lines(keys: Sequence[str]) -> bytes:
    """Return a result as it is documented."""
    return b"".join(line(key) + b"\n" for key in keys)


FORMS: dict[str, Callable[[Sequence[str]], bytes]] = {
    "keys as numbers": lambda keys: b"\n".join(line(row_number(key)) for key in keys),
    "keys in metadata": lambda keys: b"\n".join(
        written({"metadata": {"key": key}, "response": response()}) for key in keys
    ),
    "keys as numbers on some lines": lambda keys: lines(keys[:1]) + line(row_number(keys[1])),
    "one list": lambda keys: json.dumps([entry(key) for key in keys]).encode(),
    "one list over several lines": lambda keys: json.dumps(
        [entry(key) | {"note": 'a "\\ ]}'} for key in keys], indent=1
    ).encode(),
    "objects over several lines": lambda keys: b"\r\n".join(
        json.dumps(entry(key), indent=2).encode() for key in keys
    ),
    "a list of lines with keys as numbers": lambda keys: (
        b"[\n" + b",\n".join(line(row_number(key)) for key in keys) + b"\n]\n"
    ),
    "errors that say nothing": lambda keys: b"\n".join(
        [line(keys[0], error=""), line(keys[1], error={"code": 0, "message": ""})]
    ),
}


def name_full_address(told: Json, _result: bytes) -> Json:
    """Tell the name of the result as an address on another host, with the download's own ending."""
    name = told["metadata"]["output"]["responsesFile"]
    address = f"https://files.invalid/v1beta/{name}:download?alt=media"
    told["metadata"]["output"] = {"responsesFile": address}
    told["response"] = {"responsesFile": address}
    return told


def name_bare_id(told: Json, _result: bytes) -> Json:
    """Tell the name of the result without its folder."""
    bare = told["metadata"]["output"]["responsesFile"].removeprefix("files/")
    return told | {
        "metadata": told["metadata"] | {"output": {"responsesFile": bare}},
        "response": {},
    }


def inline_responses(told: Json, result: bytes) -> Json:
    """Put the responses into the operation, with the keys in `metadata`."""
    documents = [json.loads(one) for one in result.split(b"\n") if one]
    entries = [{"response": one["response"], "metadata": {"key": one["key"]}} for one in documents]
    inlined = {"inlinedResponses": {"inlinedResponses": entries}}
    return told | {"metadata": told["metadata"] | {"output": inlined}, "response": inlined}


def drop_metadata(told: Json, _result: bytes) -> Json:
    """Leave the metadata out, so that only `done` and `response` say that it succeeded."""
    return {"name": told["name"], "done": True, "response": told["response"]}


NAMES = (name_full_address, name_bare_id, inline_responses, drop_metadata)


def test_results_in_other_forms_and_under_other_names_are_read(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Each form and each name gives every row its answer, and what was sealed is fetched again byte for byte."""
    forms = list(FORMS.values())
    count = PER_BATCH * (len(forms) + len(NAMES))

    def results(keys: Sequence[str]) -> bytes:
        """Return the result of a batch in a form of its own."""
        index = batch_index(keys)
        return forms[index](by_number(keys)) if index < len(forms) else lines(keys)

    def tell(told: Json, result: bytes) -> Json:
        """Name the result of a batch that is over in a way of its own."""
        index = int(told["metadata"]["displayName"].rsplit("-", 3)[1]) - 1 - len(forms)
        return NAMES[index](told, result) if index >= 0 and result else told

    def send_gzipped(call: str) -> Whole | None:
        """Send each result gzipped, whole, and without a length."""
        if not call.endswith(DOWNLOAD):
            return None
        name = call.rpartition("/")[2].removesuffix(DOWNLOAD)
        [row] = outside_server.kept.rows("SELECT data FROM files WHERE id = ?", name)
        return 200, {"content-encoding": "gzip"}, gzip.compress(row["data"])

    outside_server.results, outside_server.operations, outside_server.instead = (
        results,
        tell,
        send_gzipped,
    )
    outside_server.manner.pending_s = outside_server.manner.running_s = 0
    served_workspace.people(count)
    served_workspace.do("submit", BATCH_ROWS=PER_BATCH)
    assert len(served_workspace.read("poll", no_wait=True)["downloaded"]) == len(forms) + len(NAMES)
    sealed = sorted((served_workspace.data / "batches").glob("*-results.jsonl"))
    for path in (sealed[0], sealed[3], sealed[-2]):
        path.write_bytes(path.read_bytes()[:-9])
    assert served_workspace.do("poll").err.count("fetched again, byte for byte") == 3
    served_workspace.do("ingest")
    assert served_workspace.states() == {"tagged": count}
    assert (
        sum(call.endswith(DOWNLOAD) for call in outside_server.calls)
        == len(forms) + len(NAMES) - 1 + 2
    )


BODIES: dict[str, str] = {
    "error": "an error (503: The service is currently unavailable.)",
    "empty": "an empty body",
    "gzip": "its gzip data end early",
    "keys": "bytes without a key of this batch",
    "cut": "a file that ends inside a line",
    "list": "the result ends inside an object or a list",
}
FAULT = {
    "error": {
        "code": 503,
        "message": "The service is currently unavailable.",
        "status": "UNAVAILABLE",
    }
}


def test_a_body_that_is_not_the_result_leaves_the_batch_as_it_is(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Every kind is named, exit code 4, nobody is charged; `batch-cancel` gives up what cannot be read of it."""
    kinds = list(BODIES)
    numbers: dict[str, int] = {}

    def results(keys: Sequence[str]) -> bytes:
        """Return the body of one kind."""
        kind = kinds[batch_index(keys)]
        bodies = {
            "error": json.dumps(FAULT).encode(),
            "empty": b"",
            "gzip": lines(keys),
            "keys": lines([f"somebody-elses/{number}" for number in range(PER_BATCH)]),
            "cut": lines(keys)[:-40],
            "list": json.dumps([entry(key) for key in keys], indent=1).encode()[:-40],
        }
        return bodies[kind]

    def cut_gzip(call: str) -> Whole | None:
        """Send half of one result, gzipped and without a length."""
        if not call.endswith(DOWNLOAD) or numbers.get("gzip") is None:
            return None
        name = served_workspace.batches()[numbers["gzip"] - 1]["remote_name"].removeprefix(
            "batches/"
        )
        if name not in call:
            return None
        packed = gzip.compress(lines(["expert-tags/5", "expert-tags/6"]))
        return 200, {"content-encoding": "gzip"}, packed[: len(packed) // 2]

    outside_server.results = results
    outside_server.manner.pending_s = outside_server.manner.running_s = 0
    served_workspace.people(PER_BATCH * len(kinds))
    served_workspace.do("submit", BATCH_ROWS=PER_BATCH)
    numbers["gzip"] = kinds.index("gzip") + 1
    outside_server.instead = cut_gzip
    how: dict[str, Any] = {"RETRY_FOR": 0.02, "POLL_FIRST": 0.01, "POLL_PATIENCE": 60}
    error_output = served_workspace.do("poll", no_wait=True, code=4, **how).err
    for number, body in enumerate(BODIES.values(), 1):
        told = [one for one in error_output.splitlines() if f"the result of batch {number};" in one]
        assert any(body in one for one in told), (body, error_output)
    assert "give it up" in error_output
    assert set(served_workspace.batch_states()) == {"submitted"}
    assert served_workspace.states() == {"claimed": PER_BATCH * len(kinds)}
    assert {request["outcome"] for request in served_workspace.asked()} == {None}

    for number in range(1, len(kinds) + 1):
        served_workspace.do("cancel", number)
    report = served_workspace.read("poll", **how)
    assert report["downloaded"] == [kinds.index("cut") + 1]
    assert set(report["failed"].values()) == {"succeeded, but its result could not be had"}
    [account] = served_workspace.read("ingest")
    assert (account["answered"], account["missing"]) == (PER_BATCH - 1, 1)
    assert served_workspace.states() == {"tagged": 1, "untagged": PER_BATCH * len(kinds) - 1}
    assert served_workspace.spent()["lost"] > 0, "what was given up may have to be paid"


def test_missing_lines_of_a_batch_that_succeeded_count_at_their_estimate(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """The fullest of three downloads is taken, the row is charged, and its cost stays in costs and budgets."""
    served_workspace.people(4)
    outside_server.results = lambda keys: lines(by_number(keys)[1:])
    served_workspace.each("submit", "poll", "ingest")
    assert sum(call.endswith(DOWNLOAD) for call in outside_server.calls) == 3
    [batch] = served_workspace.batches()
    assert (batch["answered"], batch["missing"]) == (3, 1)
    share = batch["estimated_cost"] / 4
    spent, [costs] = served_workspace.spent(), served_workspace.read("costs")["rows"]
    assert spent["lost"] == pytest.approx(share, abs=1e-6)
    assert costs["lost"] == pytest.approx(share, abs=1e-6)
    refused = served_workspace.do(
        "submit", BUDGET_PER_DAY=f"{spent['actual'] + share * 1.5:.9f}", code=3
    )
    assert "BUDGET_PER_DAY" in refused.err


ENDINGS = ("FAILED", "EXPIRED", "CANCELLED")


def give_strays(outside: Outside) -> None:
    """Let batches end badly, each with a result in which one line belongs to a request."""
    strays = (
        lambda key: line(f"another-task/{key}"),
        lambda key: line(key)[:-40],
        lambda _key: line("expert-tags/1"),
    )

    def results(keys: Sequence[str]) -> bytes:
        """Return the first line as it is, and the others as strays."""
        first, *others = by_number(keys)
        told = [strays[number % len(strays)](key) for number, key in enumerate(others)]
        return b"\n".join([line(first), *told, b""])

    def end(told: Json, result: bytes) -> Json:
        """Say of a batch that is over that it ended badly, and name its result all the same."""
        if not result:
            return told
        number = int(told["metadata"]["displayName"].rsplit("-", 3)[1])
        told["metadata"]["state"] = f"BATCH_STATE_{ENDINGS[number % len(ENDINGS)]}"
        told.pop("response", None)
        return told | {"error": {"code": 13, "message": "Internal error"}}

    outside.results = results
    outside.operations = end
    outside.manner.pending_s = outside.manner.running_s = 0


def test_replies_that_belong_to_no_request_count_at_the_estimate_of_rows_without_one(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """However the batch ended, they were paid for: in costs, in status and in budgets."""
    served_workspace.people(12)
    give_strays(outside_server)
    served_workspace.each("submit", "poll", "ingest", BATCH_ROWS=4)
    batches = served_workspace.batches()
    assert [(one["answered"], one["missing"]) for one in batches] == [(1, 3)] * len(ENDINGS)
    lost = sum(one["estimated_cost"] for one in batches) * 3 / 4
    assert served_workspace.spent()["lost"] == pytest.approx(lost, abs=1e-6)
    assert sum(one["lost"] for one in served_workspace.read("costs")["rows"]) == pytest.approx(
        lost, abs=1e-6
    )
    budget = served_workspace.spent()["actual"] + lost
    refused = served_workspace.do("submit", BUDGET_PER_DAY=f"{budget:.9f}", code=3)
    assert "BUDGET_PER_DAY" in refused.err


def test_a_budget_stops_a_tag_whose_replies_belong_to_no_request(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Rows without a reply are sent again only as far as the budget allows."""
    served_workspace.people(20)
    give_strays(outside_server)
    budget = 1.5 * served_workspace.read("submit", dry=True)["estimated_cost"]
    for _ in range(3):
        served_workspace.run("tag", mode="batch", wait=True, BUDGET_PER_DAY=f"{budget:.9f}")
    assert sum(one["estimated_cost"] for one in served_workspace.batches()) <= budget
    assert served_workspace.states()["untagged"] > 0


def test_a_failed_batch_with_a_full_result_answers_its_rows_and_sends_nothing_again(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Its answers count, `tag` and `work` end well, and they do not say that rows are sent again."""

    def fail(told: Json, result: bytes) -> Json:
        """Say of a batch that is over that it failed, and name its result all the same."""
        if not result:
            return told
        told["metadata"]["state"] = "BATCH_STATE_FAILED"
        del told["response"]
        return told | {"error": {"code": 13, "message": "Internal error"}}

    outside_server.operations = fail
    served_workspace.people(3)
    tag_run = served_workspace.do("tag", mode="batch", wait=True)
    assert "sent again" not in tag_run.said
    assert "failed at the API" not in tag_run.said
    assert served_workspace.states() == {"tagged": 3}

    outside_server.manner.pending_s = outside_server.manner.running_s = 0
    served_workspace.people(2, first=3)
    served_workspace.do("work", once=True)
    assert "sent again" not in served_workspace.do("work", once=True).said
    assert served_workspace.states() == {"tagged": 5}
    assert len(outside_server.kept.created()) == 2


def test_a_batch_whose_requests_all_fail_with_one_code_is_told_in_one_sentence(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Exit code 4, and what to do next; failures of billing and permission are held against no row."""
    served_workspace.people(5)
    outside_server.results = lambda keys: b"\n".join(
        error(key, 3, "Request contains an invalid argument.") for key in keys
    )
    served_workspace.do("submit", limit=2)
    served_workspace.do("poll")
    done = served_workspace.do("ingest", code=4)
    said = "each of the 2 requests of batch 1 failed with code 3: Request contains an invalid argument."
    assert done.err.count(said) == 1
    assert "unpark" in done.err
    assert served_workspace.states() == {"parked": 2, "untagged": 3}

    denied = "The caller does not have permission; billing is disabled."
    outside_server.results = lambda keys: b"\n".join(error(key, 7, denied) for key in keys)
    done = served_workspace.do("tag", mode="batch", wait=True, code=4)
    assert f"failed with code 7: {denied}; no row was charged" in done.err
    assert "check billing" in done.err
    outside_server.results = lambda keys: b"\n".join(error(key, 14, "Unavailable.") for key in keys)
    done = served_workspace.do("tag", mode="batch", wait=True, code=4)
    assert "each of the 3 requests of batch 3 failed with code 14: Unavailable." in done.err
    assert served_workspace.states() == {"parked": 2, "untagged": 3}, (
        "two charged failures park a row"
    )
    assert served_workspace.spent()["lost"] == 0
