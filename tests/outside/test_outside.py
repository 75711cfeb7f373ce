"""The product against a server that was written apart from the emulator, in each of its manners and troubles."""

import ast
import json
import random
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import ledger
from tests.acceptance.steps import Fate
from tests.crash import homes
from tests.crash.program import KILLED, Mortal
from tests.lab import CONTROL, KEY, Workspace
from tests.outside.answers import Json, RefusedLine, fill, user_text
from tests.outside.server import Outside, serving

HEADER = "Username,First Name,Last Name,Job Title,Company,Bio"
TRADES = ("glass", "ships", "bread", "clocks", "rivers", "maps", "looms", "soil", "stars", "bees")
ROUND = ("batch-submit", "batch-poll", "batch-ingest")
MOST_ROUNDS = 9
MOST_STEPS = 40  # a command takes about so many; who is to die later lives
MANNERS: dict[str, Json] = {
    "SDK's words, numbers, key first": {"states": "JOB_STATE_", "stats": "numbers", "key_first": True},
    "no statistics, result in the response": {
        "stats": "none",
        "output": "response",
        "hash_of": "none",
        "tells_state": False,
        "line_end": "\r\n",
    },
    "over at the first look": {"pending_s": 0, "running_s": 0, "output": "metadata", "line_end": "\n\n"},
}


@pytest.fixture(scope="module")
def mortal() -> Iterator[Mortal]:
    """The program that runs commands which die."""
    with Mortal() as program:
        yield program


def brought_in(folder: Path, outside: Outside) -> Workspace:
    """Return a workspace on the outside server with ten people who have a biography, and one who has none."""
    rows = [f"person-{number},P,{number},,,I work with {trade} since {number}." for number, trade in enumerate(TRADES)]
    file = folder / "people.csv"
    file.write_text("\n".join([HEADER, *rows, "silent,S,,,,"]), encoding="utf-8")
    settings = {"BATCH_ROWS": "4", "RETRY_WAIT": "0.01", "POLL_MOST": "0.1"}
    workspace = homes.workspace_at(folder / "data", outside.url, **settings)
    workspace.ran("import", str(file))
    return workspace


def run_until_tagged(workspace: Workspace, run: Callable[[str], object]) -> None:
    """Run the round until all who can be are tagged, and hold the accounts of both sides against each other."""
    done = "SELECT count(*) FROM experts WHERE tags IS NOT NULL"
    for _ in range(MOST_ROUNDS):
        for command in ROUND:
            run(command)
        if workspace.scalar(done) == len(TRADES):
            break
    assert workspace.scalar(done) == len(TRADES), workspace.run("status").output
    ledger.check(workspace)


def check_accounts(workspace: Workspace, outside: Outside) -> None:
    """Hold that each person was answered once on both sides, and that each batch there is known here."""
    outside.check_once()
    assert len(outside.kept.answered()) == len(TRADES)
    assert workspace.scalar("SELECT count(*) FROM findable_answers WHERE applied") == len(TRADES)
    known = {row[0] for row in workspace.query("SELECT remote_name FROM findable_batches")}
    assert {f"batches/{batch.name}" for batch in outside.kept.created()} == known


def test_lost_replies_cut_downloads_and_refusals_change_nothing(tmp_path: Path, outside: Outside) -> None:
    """Each person is asked once, no batch is made twice, and a line that was refused is asked again."""
    refused: list[str] = []

    def answer(request: Json) -> Json:
        """Refuse one line, once."""
        if "maps" in user_text(request) and not refused:
            refused.append("maps")
            raise RefusedLine(13)
        return fill(request)

    outside.answerer = answer
    workspace = brought_in(tmp_path, outside)
    outside.troubles.lost_creates, outside.troubles.cut_downloads, outside.troubles.refused = 2, 3, 0.2
    run_until_tagged(workspace, workspace.run)
    check_accounts(workspace, outside)
    assert sum(outside.kept.answered(refused=True).values()) == 1


def test_a_batch_that_fails_as_a_whole_is_asked_again(tmp_path: Path, outside: Outside) -> None:
    """Its people are answered by another batch, and the others are not asked again."""
    workspace = brought_in(tmp_path, outside)
    outside.troubles.failed_batches = 1
    run_until_tagged(workspace, workspace.run)
    check_accounts(workspace, outside)
    assert [batch.over for batch in outside.kept.created()] == ["FAILED", "SUCCEEDED", "SUCCEEDED", "SUCCEEDED"]


@pytest.mark.full
def test_a_server_that_dies_while_it_answers_comes_back_to_what_it_kept(tmp_path: Path, outside: Outside) -> None:
    """The product waits for it, or is run again, and all are answered once."""
    back: list[threading.Timer] = []

    def answer(request: Json) -> Json:
        """Die with the third answer."""
        if not back and "bread" in user_text(request):
            back.append(threading.Timer(0.3, outside.come_back))
            outside.die()
            back[0].start()
        return fill(request)

    outside.answerer = answer
    workspace = brought_in(tmp_path, outside)
    run_until_tagged(workspace, workspace.run)
    back[0].join()
    check_accounts(workspace, outside)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(1, 20))])
def test_killed_at_random_moments_each_is_asked_once(
    tmp_path: Path, outside: Outside, mortal: Mortal, seed: int
) -> None:
    """Commands die by SIGKILL again and again, one reply to a create is lost and one download is cut."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    workspace = brought_in(tmp_path, outside)
    outside.troubles.lost_creates = outside.troubles.cut_downloads = 1
    killed = []

    def run(command: str) -> None:
        """Run it until it is not killed; the more often it was, the later."""
        fate = Fate(chance.randrange(1, MOST_STEPS), chance.choice(("before", "after")))
        for again in range(MOST_ROUNDS):
            fate = Fate(fate.at + again * chance.randrange(MOST_STEPS), fate.side)
            ended = homes.run(mortal, workspace, command, fate=fate)
            if ended.code != KILLED:
                return
            killed.append(ended.last)

    run_until_tagged(workspace, run)
    check_accounts(workspace, outside)
    assert len(killed) > 1


@pytest.mark.sampled(3, sqlite=3)
@pytest.mark.parametrize("manner", MANNERS.values(), ids=MANNERS)
def test_the_chain_runs_on_a_server_of_any_manner(tmp_path: Path, manner: Json) -> None:
    """Import, submit, poll, ingest, index, search and add-expert work with nothing changed but the base URL."""
    with serving(tmp_path / "outside", **manner) as outside:
        workspace = brought_in(tmp_path, outside)
        run_until_tagged(workspace, workspace.ran)
        check_accounts(workspace, outside)
        workspace.ran("index")
        tags = workspace.scalar("SELECT tags FROM experts WHERE username = 'person-4'")
        hits = json.loads(workspace.ran("search", tags, "--json").stdout)
        assert hits[0]["username"] == "person-4"
        new = tmp_path / "new.json"
        new.write_text(json.dumps({"username": "eve", "bio": "Glaciology and mountaineering."}), encoding="utf-8")
        workspace.ran("add-expert", str(new))
        assert workspace.scalar("SELECT tags FROM experts WHERE username = 'eve'")
        assert outside.kept.rows("SELECT id FROM files WHERE NOT generated") == [], "uploads are deleted"


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ('["a"]', "line 2: invalid JSON, near column 1: unexpected character: '['"),
        ('{"key": "b", "request": {"cachedContents": "c"}}', "column 26: no such field: 'cachedContents'"),
        ('{"key": "a", "request": {"contents": [{"parts": [{"text": "t"}]}]}}', "'a' is on another line, too"),
        (
            '{"key": "b", "request": {"contents": [], "generationConfig": {"responseSchema": {"type": "ARRAY"}}}}',
            "response_schema.items: missing field",
        ),
    ],
)
def test_the_server_refuses_a_file_for_one_bad_line(outside: Outside, second: str, said: str) -> None:
    """The first bad line is named, and no batch is made; a client of no SDK sees it."""
    first = '{"key": "a", "request": {"contents": [{"parts": [{"text": "t"}]}]}}\n'
    key, data = {"x-goog-api-key": KEY}, f"{first}{second}".encode()
    start = {"X-Goog-Upload-Command": "start", "X-Goog-Upload-Header-Content-Length": str(len(data))}
    session = CONTROL.post(f"{outside.url}/upload/v1/files", headers={**key, **start}, json={"file": {}})
    finalize = {"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "0"}
    sent = CONTROL.post(session.headers["x-goog-upload-url"], headers=finalize, content=data).json()["file"]
    batch = {"batch": {"input_config": {"file_name": sent["name"]}, "display_name": "d"}}
    url = f"{outside.url}/v1/models/gemini-3.5-flash-lite:batchGenerateContent"
    refusal = CONTROL.post(url, headers=key, json=batch)
    assert (refusal.status_code, outside.kept.created()) == (400, [])
    assert said in refusal.json()["error"]["message"]


@pytest.mark.full
def test_the_sdk_as_it_is_finds_every_route(tmp_path: Path, outside: Outside) -> None:
    """Files in two pieces, pages of each list, counts, vectors, models, and a batch that is cancelled and deleted."""
    from google import genai

    outside.manner.empty_page = False  # which the pager of the SDK cannot pass
    outside.manner.running_s = 600
    sdk = genai.Client(api_key=KEY, vertexai=False, http_options={"base_url": outside.url, "api_version": "v1beta"})
    path, names = tmp_path / "lines.jsonl", []
    for size in (1, 1, 1, 8 * 1024 * 1024):
        line = {"key": "a", "request": {"contents": [{"parts": [{"text": "x" * size}]}]}}
        path.write_text(json.dumps(line), encoding="utf-8")
        names.append(sdk.files.upload(file=path, config={"mime_type": "jsonl"}).name)
    assert [file.name for file in sdk.files.list(config={"page_size": 50})] == names
    assert sdk.files.get(name=names[3] or "").size_bytes == path.stat().st_size
    batches = [sdk.batches.create(model="gemini-3.5-flash", src=name).name or "" for name in names if name]
    assert [batch.name for batch in sdk.batches.list(config={"page_size": 50})] == batches
    sdk.batches.cancel(name=batches[0])
    assert sdk.batches.get(name=batches[0]).done
    sdk.batches.delete(name=batches[0])
    sdk.files.delete(name=names[0] or "")
    assert [len(list(sdk.batches.list(config={"page_size": 50}))), len(list(sdk.files.list()))] == [3, 3]
    assert sdk.models.count_tokens(model="gemini-3.5-flash", contents="one two").total_tokens == 2
    assert len(list(sdk.models.list())) > 3
    texts: list[Any] = ["one", "two"]
    wide = sdk.models.embed_content(model="gemini-embedding-001", contents=texts, config={"output_dimensionality": 5})
    assert [len(one.values or ()) for one in wide.embeddings or ()] == [5, 5]
    assert sdk.models.generate_content(model="gemini-3.5-flash", contents="bees and law").text


def test_the_server_imports_the_standard_library_and_itself_alone() -> None:
    """What shares code with the emulator or the product would agree with it by itself."""
    here = Path(__file__).parent
    for file in {*here.glob("*.py")} - {Path(__file__)}:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [one.name for one in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert name.split(".")[0] in sys.stdlib_module_names or name.startswith("tests.outside."), (file, name)
