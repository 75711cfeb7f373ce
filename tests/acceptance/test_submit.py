"""`batch-submit`: what is written, packed, sent, kept and said, up to the create call and around it."""

import json
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.acceptance.engine import Engine
from tests.acceptance.product import MODEL, MOST, ON_POSTGRESQL, Workspace
from tests.outside.server import Outside

START = r"^/upload/[^?]*$"
CATALOGUE = (
    f'[models."{MODEL}"]\nprice_in = 0.3\nprice_out = 2.5\npriced_on = 2026-10-07\n'
    'source = "a page"\nkind = "generate"\nenqueued_tokens = {}\n'
)


def sizes(workspace: Workspace) -> list[int]:
    """Return how many lines each request file has, in the order of batches."""
    return [len(workspace.requests(one["number"])) for one in workspace.batches()]


def keys(workspace: Workspace) -> list[str]:
    """Return the keys of all request files, in the order of batches."""
    return [
        line["key"] for one in workspace.batches() for line in workspace.requests(one["number"])
    ]


def test_everyone_with_a_bio_goes_out_once(workspace: Workspace, api: Engine) -> None:
    """One file, one upload, one create; the second run has nothing to do and says so.

    That texts leave the machine is said before the first of them does, and not again. Every path begins with
    the pinned version, whatever the environment says; the name is deterministic and short.
    """
    workspace.people(12, without_bio=3)
    done = workspace.do("submit", json=True)
    document = done.json
    assert "biographies leave this machine" in done.err
    assert (document["requests"], document["batches"], document["sent"]) == (
        12,
        1,
        {"1": "created"},
    )
    assert keys(workspace) == [f"expert-tags/{number}" for number in range(1, 13)]
    done = workspace.do("submit")
    assert done.out == "nothing to submit: everyone with a bio is tagged, claimed or parked\n"
    assert "leave this machine" not in done.err
    paths = [one["path"] for one in api.journal() if one["method"] == "POST"]
    assert [("upload_id=" in path, ":batch" in path) for path in paths] == [
        (False, False),
        (True, False),
        (False, True),
    ]
    assert {path.removeprefix("/upload").split("/")[1] for path in paths} == {"v1beta"}
    [batch] = api.batches()
    ours = f"findable-{workspace.status()['workspace_id']}-expert-tags-1-"
    assert batch["displayName"].startswith(ours)
    assert batch["displayName"].endswith("-t1")
    assert len(batch["displayName"]) <= 512


def test_nothing_is_sent_or_written_without_a_yes(workspace: Workspace, api: Engine) -> None:
    """DRY=1 says people, tokens, cost and the prices' date; above CONFIRM_ABOVE no answer means no: exit 2.

    NaN would be above nothing, so that nothing would ever be asked: it is no setting, and `inf` is one.
    """
    workspace.people(7)
    before = sorted(path.name for path in workspace.data.iterdir())
    dry = workspace.do("submit", dry=True).out
    assert dry.startswith("would submit 7 people in 1 batch: about ")
    assert "estimated $" in dry
    assert "(prices of 20" in dry
    refused = workspace.do("submit", CONFIRM_ABOVE=0, code=2).err
    assert "7 people in 1 batch: about " in refused
    assert "next: --yes answers yes" in refused
    assert "FINDABLE_CONFIRM_ABOVE" in workspace.do("submit", CONFIRM_ABOVE="nan", code=3).err
    assert (workspace.batches(), workspace.states(), api.journal()) == ([], {"untagged": 7}, [])
    assert sorted(path.name for path in workspace.data.iterdir()) == before
    assert not workspace.status()["bound"]
    workspace.do("submit", limit=3, CONFIRM_ABOVE=0, yes=True)
    workspace.do("submit", CONFIRM_ABOVE="inf")
    assert sizes(workspace) == [3, 4]


def test_request_files_are_full_at_the_first_of_three_limits(
    workspace: Workspace, api: Engine
) -> None:
    """Each row stands in one file, in the order of rows; a file ends right before the line that would pass a limit.

    A limit that no line keeps gives files of one line. DRY=1 says as many files as are written.
    """
    workspace.put(
        "people.csv",
        "Username,Bio\n" + "".join(f"p{n},{'bees ' * (n * n)}law {n}\n" for n in range(8)),
    )
    workspace.do("import", "people.csv")
    tokens_ins = [
        workspace.read("submit", dry=True, limit=limit)["tokens_in"] for limit in range(1, 9)
    ]
    tokens = [after - before for before, after in pairwise([0, *tokens_ins])]
    api.configure(paused=True)
    workspace.do("submit")
    lines = _lines(workspace, 1)
    most = sum(map(len, lines)) // 3
    room = tokens_ins[-1] // 3
    cases: list[dict[str, int]] = [{"BATCH_ROWS": 3}, {"BATCH_BYTES": most}]
    cases += [{"BATCH_TOKENS": room, "BATCH_ROWS": 4, "LIMIT": 7}, {"BATCH_TOKENS": 1}]
    for limits in cases:
        for one in workspace.batches():
            if one["state"] == "submitted":
                workspace.do("cancel", one["number"])
        workspace.do("poll")
        known = len(workspace.batches())
        planned = workspace.read("submit", dry=True, **limits)
        workspace.do("submit", **limits)
        files = [_lines(workspace, one["number"]) for one in workspace.batches()[known:]]
        wanted = [*_packed(lines[: limits.get("LIMIT", 8)], tokens, limits)]
        assert (files, planned["batches"]) == (wanted, len(wanted)), limits
        assert len(wanted) > 2


def _lines(workspace: Workspace, number: int) -> list[bytes]:
    """Return the lines of a batch's request file as they stand there."""
    return (
        (workspace.data / "batches" / f"{number:06d}-requests.jsonl")
        .read_bytes()
        .splitlines(keepends=True)
    )


def _packed(lines: list[bytes], tokens: list[int], limits: dict[str, int]) -> Iterator[list[bytes]]:
    """Yield the files that these lines fill: each takes a line if it is empty, or if that passes no limit."""
    file: list[bytes] = []
    counted = 0
    for line, count in zip(lines, tokens, strict=False):
        is_over = (
            len(file) + 1 > limits.get("BATCH_ROWS", MOST)
            or len(b"".join([*file, line])) > limits.get("BATCH_BYTES", MOST)
            or counted + count > limits.get("BATCH_TOKENS", MOST)
        )
        if file and is_over:
            yield file
            file = []
            counted = 0
        file = [*file, line]
        counted += count
    yield file


def test_a_budget_of_a_day_holds_over_all_processes(workspace: Workspace, api: Engine) -> None:
    """What is under way, was paid, or may have been paid counts; what would pass it is held back and named."""
    workspace.people(12)
    api.configure(paused=True)
    cost = workspace.read("submit", dry=True)["estimated_cost"]
    day = f"{cost / 2:.9f}"
    first = workspace.read("submit", BUDGET_PER_DAY=day)
    assert 0 < sum(one["estimated_cost"] for one in workspace.batches()) <= cost / 2
    sent = sum(sizes(workspace))
    assert (sent + first["held_back"], sent > 2) == (12, True)
    submit_run = workspace.do("submit", BUDGET_PER_DAY=day, code=3)
    assert "BUDGET_PER_DAY" in submit_run.said
    assert len(api.batches()) == 1
    api.configure(paused=False)
    workspace.each("poll", "ingest")
    paid = workspace.spent()["actual"]
    assert paid > 0
    assert "BUDGET_PER_DAY" in workspace.do("submit", BUDGET_PER_DAY=f"{paid:.9f}", code=3).said
    workspace.do("submit", BUDGET_PER_DAY=f"{2 * cost:.9f}")
    assert workspace.states() == {"tagged": sent, "claimed": 12 - sent}


def test_no_more_tokens_wait_than_the_model_takes(workspace: Workspace, api: Engine) -> None:
    """The limit of the catalogue is kept by our own count, so that the API never has to refuse; no budget is blamed."""
    workspace.people(20)
    tokens = workspace.read("submit", dry=True)["tokens_in"]
    workspace.put("models.toml", CATALOGUE.format(tokens * 3 // 4))
    workspace.settings["MODELS_FILE"] = str(workspace.home / "models.toml")
    api.configure(enqueued_tokens={"*": tokens * 3 // 4}, paused=True)
    first = workspace.read("submit")
    assert (first["no_room"] > 0, first["held_back"]) == (True, 0)
    waiting = [one["estimated_in"] for one in workspace.batches()]
    assert sum(waiting) <= tokens * 3 // 4
    assert 0.6 < waiting[0] / (tokens * 3 // 4) <= 0.8, "there is room for a count that is too low"
    for money in ({}, {"BUDGET_PER_DAY": 20}):
        assert workspace.do("submit", **money).out == (
            f"nothing was submitted: {first['no_room']} held back by the quota of tokens that may wait at the API. "
            "Next: findable batch-poll\n"
        )
    assert len(api.batches()) == len(waiting)
    api.configure(paused=False)
    workspace.each("poll", "submit", "poll", "ingest")
    assert workspace.states() == {"tagged": 20}


def test_files_are_filled_by_what_past_answers_make_of_a_count(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Where the model counts twice as much as we do, half as many stand in a file, and DRY=1 says so."""
    served_workspace.people(26)
    served_workspace.do("submit", limit=6)
    each = 2 * served_workspace.batches()[0]["estimated_in"] // 6
    outside_server.results = lambda keys: b"\n".join(_answered(key, each) for key in keys)
    served_workspace.each("poll", "ingest")
    room = 5 * each + each // 2
    assert served_workspace.read("submit", dry=True, BATCH_TOKENS=room)["batches"] == 4
    served_workspace.do("submit", BATCH_TOKENS=room)
    assert sizes(served_workspace) == [6, 5, 5, 5, 5]


def _answered(key: str, tokens: int) -> bytes:
    """Return a line that says how many tokens its question had."""
    content = {"parts": [{"text": '{"tags": ["bees"]}'}], "role": "model"}
    usage = {"promptTokenCount": tokens, "candidatesTokenCount": 9}
    response = {
        "candidates": [{"content": content, "finishReason": "STOP"}],
        "usageMetadata": usage,
    }
    return json.dumps({"response": response, "key": key}).encode()


def test_no_more_batches_are_sent_than_the_api_takes(workspace: Workspace, api: Engine) -> None:
    """With a hundred batches at the API the next one waits as prepared, by our own count: exit 4, nothing refused."""
    workspace.people(101)
    api.configure(paused=True)
    error_output = workspace.do("submit", BATCH_ROWS=1, code=4).err
    assert "100 batches are at the API" in error_output
    assert "findable batch-poll" in error_output
    assert len(api.batches()) == 100
    assert workspace.batch_states() == ["submitted"] * 100 + ["prepared"]


def test_what_waits_prepared_is_told_and_asked_about(workspace: Workspace, api: Engine) -> None:
    """What an earlier run could not send costs what it costs in every command that sends it."""
    workspace.people(5)
    api.fault("key_invalid", method="POST", path=START)
    workspace.do("submit", code=3)
    workspace.do("submit", CONFIRM_ABOVE=0, code=2)
    assert workspace.batch_states() == ["prepared"]
    assert "5 people in batches that an earlier run prepared" in workspace.do("preflight").out
    assert "not confirmed" in workspace.do("tag", mode="batch", code=2, CONFIRM_ABOVE=0.0001).err
    assert api.batches() == []
    assert (
        "5 people submitted"
        in workspace.do("tag", mode="batch", yes=True, CONFIRM_ABOVE=0.0001).out
    )
    assert len(api.batches()) == 1


@pytest.mark.excused("sealed_files_are_as_sealed")
def test_a_request_file_that_changed_after_sealing_is_never_sent(
    workspace: Workspace, api: Engine
) -> None:
    """Other bytes, or none: exit 5, nothing uploaded, the batch and its claims as they were."""
    workspace.people(2)
    api.fault("key_invalid", method="POST", path=START)
    workspace.do("submit", code=3)
    path = workspace.data / "batches" / "000001-requests.jsonl"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.unlink()
    path.write_bytes(data)
    before = len(api.journal())
    for _ in range(2):
        assert str(path) in workspace.do("submit", code=5).err
        path.unlink(missing_ok=True)
    assert len(api.journal()) == before
    assert (workspace.batch_states(), workspace.states()) == (["prepared"], {"claimed": 2})


def test_what_no_batch_knows_is_swept_away(workspace: Workspace) -> None:
    """Sealed or half written request files of a run that was killed go with the next one; other files stay."""
    workspace.people(3)
    folder = workspace.data / "batches"
    folder.mkdir()
    stale = [
        "000001-requests.jsonl",
        "000001-requests.jsonl.0badcafe.part",
        "000007-requests.jsonl.0badcafe",
    ]
    for name in [*stale, "notes.txt"]:
        (folder / name).write_text("{}\n")
    workspace.do("submit")
    assert sorted(path.name for path in folder.iterdir()) == ["000001-requests.jsonl", "notes.txt"]
    assert sizes(workspace) == [3]


@pytest.mark.excused("batches_are_made_once")  # the copy does not know of the first
@pytest.mark.skipif(ON_POSTGRESQL, reason="the database does not stand in the folder")
def test_an_older_copy_of_the_folder_pays_for_nothing_twice(
    workspace: Workspace, api: Engine, tmp_path: Path
) -> None:
    """The same people ask by the same file, whose batch is adopted, and a paid result is never written over."""
    workspace.people(3)
    older = tmp_path / "older"
    shutil.copytree(workspace.data, older)
    workspace.do("submit")
    _put_back(older, workspace.data)
    assert "known here" not in workspace.do("submit").err
    assert (len(api.batches()), workspace.batch_states()) == (1, ["submitted"])
    workspace.each("poll", "ingest")
    assert workspace.states() == {"tagged": 3}
    paid = {path: path.read_bytes() for path in (workspace.data / "batches").iterdir()}
    for path in workspace.data.glob("findable.db*"):
        path.unlink()
    shutil.copy(older / "findable.db", workspace.data)
    workspace.do("submit", code=5)
    assert {path: path.read_bytes() for path in paid} == paid
    _put_back(older, workspace.data)
    assert "1 of this workspace that are not known here" in workspace.do("submit", limit=2).err
    assert len(api.batches()) == 2
    assert "known here" not in workspace.do("submit").err


def _put_back(older: Path, data: Path) -> None:
    shutil.rmtree(data)
    shutil.copytree(older, data)
