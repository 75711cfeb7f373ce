"""`make batch-submit`: what is written, sent, kept and said, up to the create call and around it."""

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.batch import create, prepare, submit
from pipeline.batch.prepare import BatchPlan
from pipeline.core import files
from pipeline.cost import queue_quota
from pipeline.engine import questions
from pipeline.experts import table
from pipeline.gemini.limits import MAX_ACTIVE_BATCHES
from pipeline.store import claims
from tests import ledger
from tests.integration import many_passages as passages
from tests.integration.looks import (
    START,
    alter,
    asked_ids,
    batch_row,
    claimed,
    creates,
    remote,
    requests_of,
    states,
    tries,
    uploads,
)
from tests.lab import KEY, ROOT, Api, Workspace
from tests.progress import NullProgress

People = Callable[..., list[str]]


def test_everyone_with_a_bio_goes_out_once(workspace: Workspace, api: Api, people: People) -> None:
    """One request file, one upload, one create; the second run has nothing to do and says so.

    Every path begins with the pinned version, whatever the environment says; the name is deterministic and short.
    """
    assert "make import" in workspace.begin().ran("batch-submit", code=2).stderr
    people(12, without_bio=3)
    workspace.environ |= {"GOOGLE_GENAI_API_VERSION": "v9", "GOOGLE_GENAI_USE_VERTEXAI": "true", "GEMINI_API_KEY": KEY}
    result = workspace.ran("batch-submit", "--json")
    document = json.loads(result.stdout)
    assert (document["requests"], document["batches"], document["sent"]) == (12, 1, {"1": "created"})
    assert (uploads(api), creates(api)) == (1, 1)
    assert claimed(workspace) == [str(number) for number in range(1, 13)]
    assert remote(api)[0]["requests"] == 12
    again = workspace.run("batch-submit")
    nothing = "nothing to submit: everyone with a bio is tagged, claimed or parked\n"
    assert (again.exit_code, again.stdout, creates(api)) == (0, nothing, 1)
    assert {one["path"].removeprefix("/upload").split("/")[1] for one in api.journal()} == {"v1beta"}
    workspace_id = workspace.scalar("SELECT workspace_id FROM findable_workspace")
    name = f"findable-{workspace_id}-expert-tags-1-{batch_row(workspace)['request_sha256'][:16]}-t1"
    assert remote(api)[0]["displayName"] == name
    assert len(name) <= 512


@pytest.mark.sampled(2, sqlite=2)
@pytest.mark.parametrize(
    ("values", "sizes"), [({"BATCH_ROWS": "4", "LIMIT": "6"}, [4, 2]), ({"BATCH_TOKENS": "1"}, [1] * 10)]
)
def test_request_files_are_split(
    values: dict[str, str], sizes: list[int], workspace: Workspace, api: Api, people: People
) -> None:
    """Files are full at the first of three limits; every item stands in exactly one, in the order of rows."""
    people(10)
    announced = json.loads(workspace.run("batch-submit", "--dry", "--json", **values).stdout)
    workspace.ran("batch-submit", **values)
    assert [one["requests"] for one in remote(api)] == sizes
    numbers = range(1, len(sizes) + 1)
    assert asked_ids(workspace, numbers) == [str(number) for number in range(1, sum(sizes) + 1)]
    assert announced["batches"] == len(sizes)
    assert len({one["displayName"] for one in remote(api)}) == len(sizes)
    rows = [batch_row(workspace, number) for number in numbers]
    assert all((workspace.data / row["request_file"]).stat().st_size == row["request_size"] for row in rows)


def test_nothing_is_sent_or_written_without_a_yes(workspace: Workspace, api: Api, people: People) -> None:
    """DRY=1 says people, tokens, cost and the prices' date; above CONFIRM_ABOVE no answer means no: exit 2.

    NaN would be above nothing, so that nothing would ever be asked: it is no setting, and `inf` is one.
    """
    people(7)
    before = sorted(path.name for path in workspace.data.iterdir())
    dry = workspace.ran("batch-submit", DRY="1").stdout
    assert dry.startswith("would submit 7 people in 1 batch: about ")
    assert "estimated $" in dry
    assert "(prices of 20" in dry
    refused = workspace.ran("batch-submit", CONFIRM_ABOVE="0", code=2).stderr
    assert "7 people in 1 batch: about " in refused
    assert "YES=1" in refused
    assert "FINDABLE_CONFIRM_ABOVE" in workspace.ran("batch-submit", CONFIRM_ABOVE="nan", code=3).stderr
    assert (states(workspace), claimed(workspace), api.journal()) == ([], [], [])
    assert sorted(path.name for path in workspace.data.iterdir()) == before
    assert workspace.scalar("SELECT backend FROM findable_workspace") is None
    workspace.ran("batch-submit", "--limit", "3", CONFIRM_ABOVE="0", YES="1")
    workspace.ran("batch-submit", CONFIRM_ABOVE="inf")
    assert states(workspace) == ["submitted"] * 2


@pytest.mark.full
@pytest.mark.parametrize("typed", ["\x04", "y\n"])
def test_at_a_terminal_it_asks(typed: str, workspace: Workspace, api: Api, people: People) -> None:
    """Yes goes on, the end of the input is exit 130; without a yes nothing is written or sent."""
    people(1)
    ours, theirs = pty.openpty()
    environ = os.environ | workspace.environ | {"FINDABLE_CONFIRM_ABOVE": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "jobs", "batch-submit"]
    process = subprocess.Popen(
        command, env=environ, stdin=theirs, stderr=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    os.close(theirs)
    assert process.stderr is not None
    said = b""
    while b"Go on?" not in said:
        piece = os.read(process.stderr.fileno(), 1000)
        assert piece, said
        said += piece
    os.write(ours, typed.encode())
    _, rest = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == {"\x04": 130, "y\n": 0}[typed], said + rest
    assert b"Traceback" not in rest
    assert (states(workspace), creates(api)) == ((["submitted"], 1) if typed == "y\n" else ([], 0))


def test_no_more_is_sent_than_was_announced(workspace: Workspace, people: People) -> None:
    """Who is imported between the plan and the writing goes out with the next run, after a plan that counts them."""
    people(3)
    with workspace.open() as ws:

        def import_one(_plan: BatchPlan) -> None:
            """Be another command that brings a person in at this moment."""
            with ws.store.write() as tx:
                table.insert_person(tx, "late", {"bio": "I arrived in between."})

        report = submit.run(ws, limit=None, dry=False, announce=import_one, confirm=lambda _plan: False)
    assert (report.plan.requests, report.items) == (3, 3)
    assert claimed(workspace) == ["1", "2", "3"]


def test_a_bio_that_changes_after_it_was_written_keeps_the_hash_of_what_is_sent(
    workspace: Workspace, api: Api, people: People
) -> None:
    """The claim's hash is that of the text in the file, so that the answer is known to be for the older bio.

    MAX_TOKENS is charged once and asked again with a larger `maxOutputTokens`, for that item alone.
    """
    people(2)
    api.fault("max_tokens", key="expert-tags/2")
    workspace.ran("batch-submit")
    alter(workspace, "UPDATE experts SET bio = 'Quite another life.' WHERE id = 1")
    for command in ("batch-poll", "batch-ingest"):
        assert workspace.run(command).exit_code == 0
    assert workspace.query("SELECT applied, outdated FROM findable_answers") == [(1, 1)]
    assert workspace.run("batch-submit").exit_code == 0
    [line] = requests_of(workspace, 2)
    assert (line["key"], line["request"]["generationConfig"]["maxOutputTokens"]) == ("expert-tags/2", 4096)


def test_an_old_upload_is_not_used_again(workspace: Workspace, api: Api, people: People) -> None:
    """What waits from an earlier run is confirmed again; an upload older than UPLOAD_HOURS is made anew."""
    people(3)
    api.fault("quota_batch")
    said = workspace.ran("batch-submit", code=4).stderr
    assert "gemini-3.5-flash-lite, 3 people in 1 batch: about " in said
    workspace.ran("batch-submit", CONFIRM_ABOVE="0", code=2)
    assert (states(workspace), creates(api), uploads(api)) == (["prepared"], 1, 1)
    assert workspace.run("batch-submit", UPLOAD_HOURS="0").exit_code == 0
    assert uploads(api) == 2


def test_what_waits_prepared_is_told_and_asked_about_by_tag(workspace: Workspace, api: Api, people: People) -> None:
    """What an earlier run could not send costs what it costs in every command that sends it."""
    people(5)
    api.fault("key_invalid", method="POST", path=START)
    workspace.ran("batch-submit", code=3)
    assert "5 people in batches that an earlier run prepared" in workspace.ran("preflight").stdout
    refused = workspace.ran("tag", "--mode", "batch", code=2, CONFIRM_ABOVE="0.0001")
    assert "5 people batch, estimated $0.000" in refused.stderr
    assert (creates(api), "not confirmed" in refused.stderr) == (0, True)
    assert "5 people submitted" in workspace.ran("tag", "--mode", "batch", "--yes", CONFIRM_ABOVE="0.0001").stdout
    assert creates(api) == 1


@pytest.mark.sqlite_only(reason="the database stands in the folder")
def test_an_older_copy_of_the_folder_pays_for_nothing_twice(
    workspace: Workspace, api: Api, people: People, tmp_path: Path
) -> None:
    """The same people ask by the same file, whose batch is adopted; of what another file asked a person is told."""
    people(3)
    shutil.copytree(workspace.data, tmp_path / "older")
    workspace.ran("batch-submit")
    shutil.rmtree(workspace.data)
    shutil.copytree(tmp_path / "older", workspace.data)
    assert "known here" not in workspace.ran("batch-submit").stderr
    assert (creates(api), states(workspace)) == (1, ["submitted"])
    workspace.ran("batch-poll")
    workspace.ran("batch-ingest")
    assert ledger.people(workspace) == {"total": 3, "tagged": 3}
    shutil.rmtree(workspace.data)
    shutil.copytree(tmp_path / "older", workspace.data)
    assert "1 of this workspace that are not known here" in workspace.ran("batch-submit", LIMIT="2").stderr
    assert creates(api) == 2
    assert "known here" not in workspace.ran("batch-submit").stderr


@pytest.mark.sqlite_only
def test_no_batch_is_written_over_the_files_of_one_that_an_older_database_does_not_know(
    workspace: Workspace, api: Api, people: People, tmp_path: Path
) -> None:
    """Only the database was put back: a result is paid for, and stays until a person removes it."""
    database = workspace.data / "findable.db"
    people(3)
    shutil.copy(database, tmp_path / "older.db")
    for command in ("batch-submit", "batch-poll", "batch-ingest"):
        workspace.ran(command)
    kept = {path: path.read_bytes() for path in (workspace.data / "batches").iterdir()}
    for path in workspace.data.glob("findable.db*"):
        path.unlink()
    shutil.copy(tmp_path / "older.db", database)
    assert "make doctor FIX=1" in workspace.ran("batch-submit", code=5).stderr
    assert {path: path.read_bytes() for path in kept} == kept
    workspace.run("doctor", FIX="1", YES="1")
    workspace.ran("batch-submit")
    assert creates(api) == 1


def test_a_request_file_that_changed_after_sealing_is_never_sent(
    workspace: Workspace, api: Api, people: People
) -> None:
    """Other bytes, or none: exit 5, nothing uploaded, the batch and its claims as they were."""
    people(2)
    api.fault("key_invalid", method="POST", path=START)
    assert workspace.run("batch-submit").exit_code == 3
    path = workspace.data / batch_row(workspace)["request_file"]
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    before = len(api.journal())
    for _ in range(2):
        assert str(path) in workspace.ran("batch-submit", code=5).stderr
        path.unlink(missing_ok=True)
    assert len(api.journal()) == before
    assert (states(workspace), len(claimed(workspace))) == (["prepared"], 2)


def test_a_row_that_cannot_be_sent_is_named_before_anything_is(
    workspace: Workspace, api: Api, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request larger than the API takes stops the run with 2 and the person's name; no file stays behind."""
    names = people(2)
    monkeypatch.setattr(questions, "MAX_FILE_BYTES", 100)
    result = workspace.ran("batch-submit", code=2)
    assert names[0] in result.stderr
    assert (states(workspace), api.journal()) == ([], [])
    assert not list(workspace.data.glob("batches/*"))


def test_claims_are_taken_only_after_the_file_is_sealed(
    workspace: Workspace, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the moment of the claim the whole file is on disk, under a name that a sweep would remove.

    What no batch knows, sealed or half written, is removed by the next run that prepares; other files stay.
    """
    people(3)
    folder = workspace.data / "batches"
    folder.mkdir()
    stale = ["000001-requests.jsonl", "000001-requests.jsonl.0badcafe.part", "000007-requests.jsonl.0badcafe"]
    for name in [*stale, "notes.txt"]:
        (folder / name).write_text("{}\n")
    seen: list[tuple[list[str], int]] = []
    real = claims.take_claims

    def watched(*args: Any, **values: Any) -> None:
        """Look at the disk, then claim."""
        there = [path for path in folder.glob("*jsonl*") if path.suffix != ".part"]
        seen.append(([path.name[:21] for path in there], sum(len(path.read_bytes().splitlines()) for path in there)))
        real(*args, **values)

    monkeypatch.setattr(claims, "take_claims", watched)
    assert workspace.run("batch-submit").exit_code == 0
    assert seen == [(["000001-requests.jsonl"], 3)]
    assert sorted(path.name for path in folder.iterdir()) == ["000001-requests.jsonl", "notes.txt"]


def test_no_claim_is_committed_before_its_file_has_its_name(
    workspace: Workspace, api: Api, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the sealed file cannot get its final name no person is claimed and no batch exists."""
    people(3)

    def refuse(_sealed: files.Sealed, path: Path) -> files.Sealed:
        """Be a disk that gives no name."""
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(files, "rename", refuse)
    assert workspace.run("batch-submit").exit_code == 3
    assert (states(workspace), claimed(workspace), api.journal()) == ([], [], [])
    assert not list(workspace.data.glob("batches/*"))


def test_no_more_batches_are_sent_than_the_api_takes(workspace: Workspace, api: Api, people: People) -> None:
    """With a hundred batches at the API the next one waits as prepared, by our own count: exit 4, nothing refused."""
    people(3)
    assert workspace.run("batch-submit", "--limit", "1").exit_code == 0
    names = [name for name in workspace.columns("findable_batches") if name != "number"]
    with workspace.open() as ws, ws.store.write() as tx:
        for number in range(2, MAX_ACTIVE_BATCHES + 1):
            columns = ", ".join(names)
            tx.exec_driver_sql(
                f"INSERT INTO findable_batches (number, {columns}) SELECT {number}, {columns} "  # noqa: S608 - ours
                "FROM findable_batches WHERE number = 1"
            )
    result = workspace.ran("batch-submit", code=4)
    assert "100 batches are at the API" in result.stderr
    assert "make batch-poll" in result.stderr
    assert (creates(api), batch_row(workspace, 101)["state"]) == (1, "prepared")


def _quota(workspace: Workspace, folder: Path) -> int:
    """Let three quarters of all people's tokens wait at the API at once; return how many those are."""
    models = folder / "models.toml"
    limit: int = json.loads(workspace.run("batch-submit", "--dry", "--json").stdout)["tokens_in"] * 3 // 4
    models.write_text(
        '[models."gemini-3.5-flash-lite"]\nprice_in = 0.3\nprice_out = 2.5\n'
        f'priced_on = 2026-10-07\nsource = "a page"\nkind = "generate"\nenqueued_tokens = {limit}\n'
    )
    workspace.environ["FINDABLE_MODELS_FILE"] = str(models)
    return limit


def test_no_more_tokens_wait_than_the_model_takes(
    workspace: Workspace, api: Api, people: People, tmp_path: Path
) -> None:
    """The enqueued-token limit of the catalogue is kept by our own count, so that the API never has to refuse."""
    people(4)
    limit = _quota(workspace, tmp_path)
    api.configure(enqueued_tokens={"*": limit * 2}, paused=True)
    result = workspace.ran("batch-submit")
    assert "held back by the quota of tokens that may wait at the API" in result.stdout
    assert (states(workspace), creates(api)) == (["submitted"] * 2, 2)
    assert workspace.scalar("SELECT sum(estimated_in) FROM findable_batches") <= limit
    api.configure(paused=False)
    assert workspace.run("batch-poll").exit_code == 0
    assert workspace.run("batch-submit").exit_code == 0
    assert states(workspace) == ["downloaded"] * 2 + ["submitted"]


def test_the_quota_is_looked_at_again_when_the_create_is_committed(
    workspace: Workspace, api: Api, people: People, tmp_path: Path
) -> None:
    """A batch that was sent while this one's file was uploaded took the room: this one waits, uploaded, uncreated."""
    people(4)
    limit = _quota(workspace, tmp_path)
    with workspace.open() as ws:
        [first] = prepare.prepare_batches(ws, prepare.Selection(2), bar=_bar())
        [second] = prepare.prepare_batches(ws, prepare.Selection(2), bar=_bar())
        workspace.change("UPDATE findable_batches SET estimated_in = :most WHERE number = 1", most=limit)
        upload = ws.client.upload

        def meanwhile(*args: Any, **named: Any) -> Any:
            """Upload, and let another process send the first batch."""
            ws.client.upload = upload
            assert create.send_batch(ws, first) is create.SendOutcome.CREATED
            return upload(*args, **named)

        ws.client.upload = meanwhile
        with pytest.raises(queue_quota.QuotaFullError, match="tokens would wait"):
            create.send_batch(ws, second)
    assert (states(workspace), creates(api), tries(workspace)) == (["submitted", "prepared"], 1, ["created"])
    assert batch_row(workspace, 2)["upload"]


def test_a_full_quota_of_tokens_is_no_used_up_budget(
    workspace: Workspace, api: Api, people: People, tmp_path: Path
) -> None:
    """Where nothing more may wait, it says who is held back by that and what to type; exit 0, no budget is blamed."""
    people(4)
    api.configure(paused=True)
    window = {"MODELS_FILE": str(passages.models(tmp_path / "models.toml", enqueued_tokens=400))}
    first = json.loads(workspace.run("batch-submit", "--json", **window).stdout)
    left = ledger.people(workspace)["untagged"]
    assert (first["no_room"], first["held_back"], left > 0) == (left, 0, True)
    for money in ({}, {"BUDGET_PER_DAY": "20"}):
        assert workspace.ran("batch-submit", **money, **window).stdout == (
            f"nothing was submitted: {left} held back by the quota of tokens that may wait at the API. "
            "Next: make batch-poll\n"
        )
    assert creates(api) == len(first["sent"])


def test_a_batch_leaves_room_for_a_count_that_is_too_low(
    workspace: Workspace, api: Api, people: People, tmp_path: Path
) -> None:
    """No file is filled to all that may wait at once: the server counts more than we do, and takes it all the same."""
    people(20)
    tokens = json.loads(workspace.run("batch-submit", "--dry", "--json").stdout)["tokens_in"]
    models = passages.models(tmp_path / "models.toml", enqueued_tokens=tokens // 2)
    planned = json.loads(workspace.run("batch-submit", "--dry", "--json", MODELS_FILE=str(models)).stdout)
    assert planned["batches"] == 3
    api.configure(enqueued_tokens={"*": 10**9}, paused=True)
    assert workspace.run("batch-submit", "--limit", "10", MODELS_FILE=str(models)).exit_code == 0
    assert 0.6 * tokens / 2 < batch_row(workspace)["estimated_in"] <= 0.8 * tokens / 2


def test_files_are_filled_by_what_past_answers_make_of_a_count(workspace: Workspace, people: People, api: Api) -> None:
    """Where the model counts twice as much as we do, half as many stand in a file, and DRY=1 says so."""
    people(26)
    assert workspace.run("batch-submit", "--limit", "6").exit_code == 0
    for command in ("batch-poll", "batch-ingest"):
        assert workspace.run(command).exit_code == 0
    counted = workspace.scalar("SELECT counted_in FROM findable_batches")
    workspace.change("UPDATE findable_batch_accounts SET tokens_in = :twice", twice=2 * counted)
    each = 2 * counted // 6
    room = {"BATCH_TOKENS": str(5 * each + each // 2)}
    planned = json.loads(workspace.run("batch-submit", "--dry", "--json", **room).stdout)
    assert planned["batches"] == 4
    api.configure(paused=True)
    assert workspace.run("batch-submit", **room).exit_code == 0
    assert [batch_row(workspace, number)["requests"] for number in (2, 3, 4, 5)] == [5] * 4


def test_no_more_bytes_are_uploaded_than_the_api_keeps(
    workspace: Workspace, api: Api, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads of batches that are not over count together; the one that would be too much waits as prepared."""
    people(4)
    api.configure(paused=True)
    assert workspace.run("batch-submit", "--limit", "2").exit_code == 0
    monkeypatch.setattr(queue_quota, "MAX_STORED_BYTES", int(batch_row(workspace)["request_size"] * 1.5))
    result = workspace.ran("batch-submit", code=4)
    assert "bytes would be uploaded" in result.stderr
    assert (states(workspace), uploads(api)) == (["submitted", "prepared"], 1)


def _bar() -> Any:
    """Return progress that is not looked at."""
    return NullProgress().bar("", None).__enter__()
