"""Units of `work`, hosts with different paths, and killed workers answer each row once."""

import re
import signal
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests import postgresql
from tests.acceptance.database import connect, list_tables, run_sql
from tests.acceptance.engine import Engine
from tests.acceptance.process import ROOT, Running
from tests.acceptance.product import ON_POSTGRESQL, Workspace, on_a_server
from tests.scratch import wait_until


def run_units(workspace: Workspace, unit_names: str, **options: Any) -> tuple[list[str], list[str]]:
    """Run some units once; return the finished work and the names of the units due next.

    Rows can be read at any time, so that unit is left out.
    """
    work_document = workspace.read_json("work", once=True, only=unit_names, **options)
    due_names = {due_unit["unit"] for due_unit in work_document["next"]}
    return work_document["did"], sorted(due_names - {"fill"})


def test_unit_does_only_its_own_work(workspace: Workspace, api: Engine) -> None:
    """Each unit moves a batch by a step; a unit that is not due does nothing.

    The report lists the units due next.
    """
    workspace.import_people(4)
    # Only `submit` is due in a new workspace.
    assert run_units(workspace, "poll,ingest,index") == ([], ["submit"])
    assert api.creates() == []
    assert run_units(workspace, "submit", BATCH_ROWS=2) == (["4 submitted in 2 batches"], ["poll"])
    assert run_units(workspace, "submit,ingest") == ([], ["poll"])
    wait_until(lambda: run_units(workspace, "poll")[1] == ["ingest"])
    assert set(workspace.batch_states()) == {"downloaded"}
    workspace.run_command("work", once=True, only="ingest")
    assert workspace.state_counts() == {"tagged": 4}
    assert run_units(workspace, "index")[0] == ["4 texts embedded, index built with 4 entries"]
    assert workspace.read_json("work", once=True)["did"] == []
    assert len(workspace.search("bees")) == 4
    workspace.run_command("work", once=True, only="cook", code=2)


def test_hosts_share_a_folder_under_different_paths(workspace: Workspace, tmp_path: Path) -> None:
    """A host continues the work of another host, and neither path to the folder is stored."""
    hosts = []
    for name in ("east", "west"):
        host = Workspace(tmp_path / name, workspace.url, settings={"BATCH_ROWS": "2"})
        host.home.mkdir()
        if ON_POSTGRESQL:
            host.settings["DATABASE_URL"] = workspace.environ["ASKROWS_DATABASE_URL"]
        hosts.append(host)

    workspace.import_people(3)
    for host in hosts:
        host.data.symlink_to(workspace.data)
    for host in hosts * 50:
        host.run_command("work", once=True)
        host.run_command("doctor")
        if workspace.status()["index"].get("count") == 3:
            break

    east, west = hosts
    assert east.search("bees") == west.search("bees") != []
    paths = [str(host.home).encode() for host in (*hosts, workspace)]
    stored_files = [
        file for file in workspace.data.rglob("*") if file.is_file() and file.suffix != ".lock"
    ]
    for file in stored_files:
        content = file.read_bytes()
        assert not [path for path in paths if path in content], file

    with connect(workspace) as transaction:
        queries = [f'SELECT * FROM "{name}"' for name in list_tables(transaction)]  # noqa: S608
        rows = str([transaction.execute(query).fetchall() for query in queries])
    assert not [path for path in paths if path.decode() in rows]


def test_options_of_concurrency_are_refused_where_they_do_not_fit(workspace: Workspace) -> None:
    """SQLite, options about one process, and options about many are refused in a sentence."""
    workspace.import_people(1)
    assert "needs --concurrency" in workspace.run_command("work", port=0, code=2).stderr
    assert "needs --concurrency" in workspace.run_command("work", host="::1", code=2).stderr
    if not ON_POSTGRESQL:
        sqlite_run = workspace.run_command("work", concurrency=2, code=2)
        assert "work` runs the same units" in sqlite_run.stderr
        # In the environment it is the number of live calls.
        workspace.run_command("work", once=True, CONCURRENCY=2)
        return
    for name in ("accept_changed", "full", "refresh"):
        options: dict[str, Any] = {"concurrency": 2, name: True}
        assert "--concurrency; nothing" in workspace.run_command("work", code=2, **options).stderr
    task_run = workspace.run_command("work", concurrency=2, TASK="experts", code=2)
    assert "--task cannot be used with --concurrency" in task_run.stderr
    assert "--once" in workspace.run_command("work", concurrency=2, json=True, code=2).output


@on_a_server
def test_drain_ends_when_no_unit_is_due(workspace: Workspace, api: Engine) -> None:
    """`--concurrency --once` creates its tables, does all due work, and reports it."""
    workspace.import_people(4)
    options: dict[str, Any] = {"concurrency": 2, "once": True, "BATCH_ROWS": 2}
    work_document = workspace.read_json("work", **options)
    assert work_document["did"] == ["4 submitted in 2 batches"]
    due_names = [due_unit["unit"] for due_unit in work_document["next"]]
    # Rows can be read at any time.
    assert [name for name in due_names if name != "fill"] == ["poll", "poll"]

    def are_ingested() -> bool:
        """Return whether another run has ingested both batches."""
        workspace.run_command("work", **options)
        return workspace.batch_states() == ["ingested", "ingested"]

    wait_until(are_ingested)
    workspace.run_command("work", **options)
    assert len(workspace.search("bees")) == 4
    assert workspace.read_json("work", **options)["did"] == []
    assert len(api.creates()) == 2


@on_a_server
def test_worker_does_not_delay_units_of_other_workers(workspace: Workspace, api: Engine) -> None:
    """A worker that only polls makes no job for `submit`, which others would wait for."""
    api.script_fault("never_ends")
    workspace.import_people(2)
    workspace.run_command("submit", limit=1)
    # Without room in the budget, the other row is due in a day.
    limits: dict[str, Any] = {"BUDGET_PER_DAY": 0, "POLL_MOST": 86_400}
    with workspace.start_command("work", concurrency=1, only="poll", yes=True, **limits) as worker:
        wait_until(lambda: api.count_calls("GET", "/batches/"), worker.read_output)
        worker.stop(signal.SIGTERM)
    with workspace.start_command("work", concurrency=1, only="submit", yes=True) as worker:
        wait_until(lambda: len(api.creates()) == 2, worker.read_output)
        worker.stop(signal.SIGTERM)


@on_a_server
def test_tables_of_jobs_need_consent_and_a_right(workspace: Workspace) -> None:
    """A person is asked in another program's database; an administrator gets the SQL to run."""
    workspace.import_people(1)
    run_sql(workspace, "CREATE TABLE shoes (size INTEGER)")
    options: dict[str, Any] = {"concurrency": 1, "once": True}
    assert "not confirmed" in workspace.run_command("work", code=2, **options).stderr

    limited = Workspace(workspace.home, workspace.url)
    limited.settings["DATABASE_URL"] = workspace.server.replace("//postgres@", "//limited@")
    for statement in (
        "CREATE ROLE limited LOGIN",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO limited",
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO limited",
    ):
        run_sql(workspace, statement)
    refused_run = limited.run_command("work", yes=True, code=3, **options)
    (sql,) = re.findall(r"runs: (CREATE SCHEMA .*;)", refused_run.stderr)
    with connect(workspace) as administrator:
        administrator.execute(sql)
    limited.run_command("work", yes=True, **options)


@on_a_server
def test_workers_are_killed_and_every_row_is_answered_once(
    workspace: Workspace, api: Engine
) -> None:
    """A killed worker is replaced by the next worker, and SIGTERM ends workers with exit code 0."""
    workspace.import_people(40)

    def are_tagged() -> bool:
        """Return whether all people have tags."""
        return run_sql(workspace, "SELECT count(*) FROM experts WHERE tags IS NOT NULL") == [(40,)]

    def has_worked(worker: Running) -> bool:
        """Return whether a worker printed what a unit did, or nothing is left to do."""
        return "experts: " in worker.read_output() or are_tagged()

    options: dict[str, Any] = {"BATCH_ROWS": 4, "yes": True, "concurrency": 2}
    with ExitStack() as stack:
        workers = [
            stack.enter_context(workspace.start_command("work", port=0, **options))
            for _ in range(2)
        ]
        for _ in range(6):
            with workspace.start_command("work", **options) as killed_worker:
                wait_until(partial(has_worked, killed_worker), killed_worker.read_output)
                killed_worker.signal(signal.SIGKILL)

        wait_until(are_tagged, workers[0].read_output)
        wait_until(lambda: workspace.status()["index"]["count"] == 40, workers[0].read_output)
        assert workspace.state_counts() == {"tagged": 40}

        # The health of a worker is served at its port.
        (port,) = re.findall(r"at port (\d+)", workers[0].read_output())
        responses = {
            path: httpx2.get(f"http://127.0.0.1:{port}/{path}", timeout=60)
            for path in ("healthz", "readyz", "metrics")
        }
        assert {response.status_code for response in responses.values()} == {200}
        assert 'askrows_rows{state="tagged",task="experts"} 40.0' in responses["metrics"].text

        for worker in workers:
            worker.signal(signal.SIGTERM)
        assert [worker.wait().code for worker in workers] == [0, 0]
    assert len(api.creates()) == 10


@on_a_server
def test_worker_prints_no_trace_if_the_server_stops(api: Engine, tmp_path: Path) -> None:
    """A worker whose database server stops and starts again prints only lines and warnings."""
    workspace = Workspace(tmp_path / "stopped", api.url)
    with postgresql.Server(Path(tempfile.mkdtemp(prefix="pg-"))) as server:
        workspace.settings["DATABASE_URL"] = server.make("w")
        workspace.import_people(1)
        with workspace.start_command("work", concurrency=4, yes=True) as worker:
            wait_until(lambda: "experts: " in worker.read_output(), worker.read_output)
            assert server.process
            server.process.send_signal(signal.SIGQUIT)
            server.process.wait()
            wait_until(lambda: "connection to server" in worker.read_output(), worker.read_output)
            server.start()
            stopped_worker = worker.stop(signal.SIGTERM)

    assert stopped_worker.code == 0
    assert "connection to server" in stopped_worker.stderr
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "
    lines = stopped_worker.output.splitlines()
    assert [line for line in lines if not re.match(time, line)] == []


def recipes() -> list[str]:
    """Return the blocks of docs/deploy.md."""
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    return re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)


def commands() -> set[tuple[str, ...]]:
    """Return the arguments of each `askrows` in the recipes.

    Recipes have command lines of a shell, lists of YAML and lists of Python.
    """
    found_commands = set()
    for block in recipes():
        for line in re.findall(r"\baskrows[\s\",]+(work[^\n\]>]*)", block):
            arguments = re.sub(r'["\']|, ', " ", line.split(" cwd")[0])
            found_commands.add(tuple(re.findall(r"[\w=-][\w=,.-]*", arguments)))
    return found_commands


@pytest.mark.parametrize("words", sorted(commands()), ids=" ".join)
def test_commands_of_the_recipes_run(workspace: Workspace, words: tuple[str, ...]) -> None:
    """Recipes are short, and each of their commands ends well or runs until it is stopped."""
    assert max(len(block.splitlines()) for block in recipes()) <= 25
    workspace.import_people(1)
    is_concurrent = "--concurrency" in " ".join(words)
    runs_forever = "--once" not in words and (ON_POSTGRESQL or not is_concurrent)
    words = tuple("--port=0" if word.startswith("--port") else word for word in words)
    expected_code = 2 if is_concurrent and not ON_POSTGRESQL else 0
    if runs_forever and not is_concurrent:
        expected_code = 130

    with workspace.start_command(*words) as running:
        if runs_forever:
            wait_until(lambda: running.read_output() != "")
            process = running.stop(signal.SIGTERM)
        else:
            process = running.wait()
        assert process.code == expected_code
