"""Makes the yardstick's fixtures: workspaces with every state in them, as a version of findable leaves them behind.

To be run with the version whose workspaces are to be kept, in a worktree of its commit into which this file is copied:

    git worktree add ../before 4279af2 && cp tests/yardstick/make.py ../before/tests/yardstick/
    cd ../before && make setup && .venv/bin/python -m tests.yardstick.make FOLDER

FOLDER then holds `sqlite.tar.gz` and `postgresql.tar.gz`. In each there is, for every workspace, a folder with `data`
(the workspace), `engine` (the API's own state, and `creates.jsonl` with the keys in every create) and on PostgreSQL
`dump.sql` (the database, by pg_dump); `made.json` says when it was made and by which commit. Nothing here is imported
from the product, so that this file can be read and checked beside any version; `opened.py` opens what it makes.

A command that leaves a state behind is killed at one of its steps. Which one that is shows a run in peace, on a copy of
the workspace and of the API. Batches that the next command would go on with are kept aside meanwhile, under the name of
a task that no command knows.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests import postgresql
from tests.crash.program import Mortal
from tests.crash.steps import ON_SERVER, Fate
from tests.lab import DATABASE, ON_POSTGRESQL, ROOT, URL, Workspace, copy_tree

KEY = "key-of-the-yardstick"
WAITS = {
    "BATCH_ROWS": "3",
    "DIM": "128",
    "LIST_LAG": "0",
    "CREATE_TIMEOUT": "2",
    "CALL_TIMEOUT": "5",
    "RETRY_FOR": "1",
    "RETRY_WAIT": "0.01",
    "POLL_FIRST": "0.02",
    "POLL_MOST": "0.1",
    "POLL_PATIENCE": "3",
    "CONCURRENCY": "1",
}
LENIENT = {"TASK": "passages", "GATES": "coverage=off,parse-failure=off,concepts=off,evidence=off"}
CREATE, ASK, UPLOAD = ":batchGenerateContent", ":generateContent", "POST /upload/"
TRADES = (
    *("bees", "law", "glass", "ships", "bread", "clocks", "rivers", "maps", "looms", "soil", "stars", "locks"),
    *("bells", "paper", "salt", "wool", "tides", "lenses", "orchards", "bridges", "kilns", "harps", "seeds", "wells"),
    *("roofs", "dyes", "mills", "ropes", "caves", "moss", "ferns", "coins", "masks", "kites", "drums", "cheese"),
)
HEADER = "Username,First Name,Last Name,Job Title,Company,Bio\n"
NO_QUOTE = {
    "concepts": [{"name": "a", "type": "task", "aliases": [], "confidence": 1, "quotes": ["this stands nowhere"]}]
}

LONGEST = 400  # steps of a command that would wait for ever
AT_LENGTH = 36  # people and passages whose texts are of one length
NONE: Mapping[str, str] = {}
BARE, UPLOADED = ("prepared", False, False, False), ("prepared", True, False, False)
UNKNOWN, UNCLEAR = ("submitting", True, False, False), ("submitting", True, False, True)
SUBMITTED = ("submitted", True, True, True)

Trail = Sequence[str]


def before_first(word: str) -> Callable[[Trail], Fate]:
    """Return how to die right before the first step with a word in it."""
    return lambda trail: Fate(_first(trail, word), "before")


def after_reply(word: str, *, nth: int = 1) -> Callable[[Trail], Fate]:
    """Return how to die once the reply to the n-th message with a word in it has come."""

    def when(trail: Trail) -> Fate:
        """Return the step of the reply."""
        sent = _all(trail, word)[nth - 1]
        return Fate(next(at for at, what in enumerate(trail, 1) if at > sent and what.startswith("recv")), "after")

    return when


def before(word: str, *, nth: int) -> Callable[[Trail], Fate]:
    """Return how to die right before the n-th step with a word in it."""
    return lambda trail: Fate(_all(trail, word)[nth - 1], "before")


def last_commit_before(word: str) -> Callable[[Trail], Fate]:
    """Return how to die right before the last commit before a word."""
    return lambda trail: Fate(max(at for at in _commits(trail) if at < _first(trail, word)), "before")


def after_commit_behind(word: str) -> Callable[[Trail], Fate]:
    """Return how to die right after the first commit behind a word."""
    return lambda trail: Fate(min(at for at in _commits(trail) if at > _first(trail, word)), "after")


def after_commit(nth: int) -> Callable[[Trail], Fate]:
    """Return how to die right after the n-th commit; -1 is the last."""
    return lambda trail: Fate(_commits(trail)[nth], "after")


def _first(trail: Trail, word: str) -> int:
    return _all(trail, word)[0]


def _all(trail: Trail, word: str) -> list[int]:
    return [at for at, what in enumerate(trail, 1) if word in what]


def _commits(trail: Trail) -> list[int]:
    return [at for at, what in enumerate(trail, 1) if what in {"commit findable.db", ON_SERVER}]


@dataclass
class Place:
    """A workspace and the API that it speaks to, in one folder; on the local backend the API is in the workspace."""

    mortal: Mortal
    home: Path
    backend: str = "gemini"
    engine: tuple[str, int] | None = None
    faults: list[dict[str, Any]] = field(default_factory=list)
    aside: dict[int, str] = field(default_factory=dict)
    paused: bool = False  # the API does no more work on batches

    @property
    def workspace(self) -> Workspace:
        """Return the workspace with its settings."""
        environ = {f"FINDABLE_{name}": value for name, value in WAITS.items()}
        environ["FINDABLE_DATA"] = str(self.home / "data")
        if self.engine is not None:
            environ |= {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": self.engine[0]}
        return Workspace(self.home / "data", environ)

    def start(self, **settings: Any) -> None:
        """Start the API."""
        if self.backend == "gemini":
            root = self.home / "engine"
            behaving = {"batch_looks": 1, "paused": self.paused, **settings}
            self.engine = self.mortal.start_engine(root, settings=behaving, faults=self.faults)

    def stop(self) -> None:
        """End the API; its state is on disk."""
        if self.engine is not None:
            self.mortal.end_engine(self.engine[1])
            self.engine = None

    @contextlib.contextmanager
    def so(self, *faults: Mapping[str, Any], **settings: Any) -> Iterator[None]:
        """Let the API behave so for the length of a block."""
        self.stop()
        self.faults = [dict(one) for one in faults]
        self.start(**settings)
        yield
        self.stop()
        self.faults = []
        self.start()

    def run(self, *words: str, fate: Fate | None = None, code: int = 0, values: Mapping[str, str] = NONE) -> list[str]:
        """Run a command that must end so, and return its steps."""
        environ = self.workspace.environ | {f"FINDABLE_{name}": value for name, value in values.items()}
        ended = self.mortal.run(environ, *words, cwd=self.home, fate=fate or Fate())
        assert ended.code == code, (words, ended)
        return ended.trail

    def die(
        self,
        *words: str,
        when: Callable[[Trail], Fate],
        proof: Callable[["Place"], bool],
        faults: Sequence[Any] = (),
        paused: bool = False,
        values: Mapping[str, str] = NONE,
    ) -> None:
        """Run a command that dies at the step that a run in peace shows, or at one near it, so that the proof holds.

        On a server there are commits of those who only read, too.
        """
        self.stop()
        saved = Place(self.mortal, self.home.with_name(f"{self.home.name}-saved"), self.backend)
        copy_tree(self.home, saved.home)
        with self.so(*faults, paused=paused or self.paused):
            environ = self.workspace.environ | {f"FINDABLE_{name}": value for name, value in values.items()}
            peace = self.mortal.run(environ, *words, cwd=self.home, fate=Fate(LONGEST))
        fate = when(peace.trail)
        for step in (0, *(sign * far for far in range(1, 7) for sign in (-1, 1))):
            self.stop()
            shutil.rmtree(self.home)
            copy_tree(saved.home, self.home)
            with self.so(*faults, paused=paused or self.paused):
                self.run(*words, fate=replace(fate, at=fate.at + step), code=-9, values=values)
            if proof(self):
                break
        else:
            raise AssertionError(f"{words}: {peace.trail}")
        shutil.rmtree(saved.home)
        if ON_POSTGRESQL:
            postgresql.drop_below(saved.home)

    def put_aside(self) -> None:
        """Keep all batches that are not over from being gone on with."""
        rows = self.workspace.query(
            "SELECT number, task FROM findable_batches WHERE state NOT IN ('ingested', 'failed') AND task <> 'aside'"
        )
        self.aside |= dict(rows)
        for number, _ in rows:
            self.workspace.change("UPDATE findable_batches SET task = 'aside' WHERE number = :number", number=number)

    def put_back(self) -> None:
        """Undo `put_aside`."""
        for number, task in self.aside.items():
            self.workspace.change(
                "UPDATE findable_batches SET task = :task WHERE number = :number", task=task, number=number
            )
        self.aside = {}

    def newest(self) -> tuple[Any, ...]:
        """Return (state, upload, remote name, create's end) of the newest batch."""
        return self.workspace.query(
            "SELECT state, upload IS NOT NULL, remote_name IS NOT NULL, create_ended_at IS NOT NULL "
            "FROM findable_batches ORDER BY number DESC LIMIT 1"
        )[0]

    def creates(self) -> int:
        """Return how many batches were made at the API."""
        notes = self.home / "engine" / "creates.jsonl"
        return len(notes.read_text().splitlines()) if notes.exists() else 0

    def open_probes(self) -> int:
        """Return how many probes have no verdict."""
        return int(self.workspace.scalar("SELECT count(*) FROM findable_probes WHERE verdict IS NULL"))

    def write(self, name: str, text: str) -> str:
        """Write a file beside the workspace and return its path."""
        path = self.home / name
        path.write_text(text, encoding="utf-8")
        return str(path)


def trade(number: int) -> str:
    """Return a trade."""
    return TRADES[number % len(TRADES)]


def people(numbers: Sequence[int]) -> str:
    """Return a CSV file of people whose ids will be these numbers; the later ones have more to say."""
    return HEADER + "".join(
        f"person-{number},Given{number},Name{number},Keeper of {trade(number)},House of {trade(number)},"
        f'"My work is {trade(number)} and water; ""old"" <b>{trade(number)}</b> & naïve 🐝 ways.'
        f'{told(number)}"\n'
        for number in numbers
    )


def passages(numbers: Sequence[int]) -> str:
    """Return a file of passages; the later ones are longer."""
    lines = (
        {
            "id": f"p-{number:02d}",
            "text": f"We study {trade(number)} in wet cellars. 🐝 Old {trade(number)} keep longer than new "
            f"{trade(number)}. A benchmark of {trade(number + 1)} and a random forest model are compared with it."
            f"{told(number + 20)}",
            "source": "field",
        }
        for number in numbers
    )
    return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)


def told(number: int) -> str:
    """Return further sentences, none for the first of the people, and then more and more or fewer and fewer."""
    return "".join(f" I also know {trade(more)}." for more in range(number * number % 17 if number > AT_LENGTH else 0))


def fault(word: str, *, key: str = "", times: int = 10_000, path: str = "", **args: Any) -> dict[str, Any]:
    """Return a fault as the API's control paths take it."""
    match = {name: value for name, value in (("key", key), ("path", path)) if value}
    return {"fault": word, "match": match, "nth": 1, "times": times, "args": args}


def make_gemini(place: Place) -> None:
    """Make the workspace with everything in it, of people and of passages, on the gemini backend."""
    place.start()
    first_people(place)
    first_passages(place)
    rolled_back(place)
    open_pilot(place)
    passed_pilot(place)
    index_again(place)
    backfill(place)
    batches(place)
    live(place)
    probe(place)
    unasked(place)
    leave(place)
    place.stop()


def first_people(place: Place) -> None:
    """Some people, tagged by a probe, in batches with every kind of failure, and live; parked; due; in an index."""
    place.run("import", place.write("people.csv", people(range(1, 12)) + "silent,No,Bio,Baker,,\n,Nobody,,,,\n"),
              "--report", str(place.home / "data" / "rejected.csv"))  # fmt: skip
    place.run("preflight", "--probe")  # 1 to 5
    failing = (
        fault("error_line", key="expert-tags/6$", code=3),
        fault("max_tokens", key="expert-tags/7$"),
        fault("missing_line", key="expert-tags/8$", times=1),
        fault("safety", key="expert-tags/9$"),
    )
    twice = (fault("duplicate_batch", path=CREATE, times=1), fault("create_lost_reply", path=CREATE, times=1))
    for faults in (failing, (*failing, *twice)):
        with place.so(*faults):
            for words in ("batch-submit", "batch-poll", "batch-ingest"):
                place.run(words, values={"LIMIT": "6"})
    place.run("score")
    place.run("index")
    place.run("import", place.write("more.csv", people(range(13, 20)).replace("Keeper", "Friend")))
    place.run("tag-live", "--limit", "2")


def first_passages(place: Place) -> None:
    """Some passages, and concepts of another program."""
    source = place.write("passages.jsonl", passages(range(9)) + '{"id": "p-98"}\n')
    place.run("import-passages", source, "--report", str(place.home / "data" / "lines.csv"))
    for number in range(2):
        place.workspace.change(
            "INSERT INTO passage_concepts (passage_id, concept_name, concept_type, aliases, confidence,"
            " extractor_model, extractor_version, created_at)"
            " VALUES (:id, 'a thing', 'method', '[]', 1, 'm', 'theirs', '2026-01-01')",
            id=f"p-{number:02d}",
        )


def rolled_back(place: Place) -> None:
    """A version with answers by batch and live, half taken back."""
    old = {**LENIENT, "VERSION": "old@1"}
    for words in ("batch-submit", "batch-poll", "batch-ingest"):
        with place.so(fault("error_line", key="p-02$", code=3)):
            place.run(words, values={**old, "LIMIT": "3"})
    place.run("tag-live", "--limit", "2", values=old)
    place.run("qc", "--extractor", "old@1", values=old)

    def is_half(place: Place) -> bool:
        """Return whether it is out of sight, its rows are gone, and its answers are not."""
        left = place.workspace.query(
            "SELECT (SELECT count(*) FROM findable_versions WHERE withdrawn_at IS NOT NULL), "
            "(SELECT count(*) FROM passage_concepts WHERE extractor_version = 'old@1'), "
            "(SELECT count(*) FROM findable_answers WHERE extractor LIKE 'old@1/%')"
        )
        return left == [(1, 0, 4)]

    place.die("rollback", "old@1", "--yes", when=after_commit(-7), proof=is_half)


def open_pilot(place: Place) -> None:
    """A pilot that is under way under another version."""
    following = {**LENIENT, "VERSION": "next@1"}
    pilot = ("passages-pilot", "--n", "2", "--seed", "5", "--yes")
    place.die(
        *pilot,
        when=after_commit_behind(CREATE),
        proof=lambda place: place.newest() == SUBMITTED,
        paused=True,
        values=following,
    )
    place.put_aside()


def passed_pilot(place: Place) -> None:
    """A pilot that passed, of whose passages one is parked: a version that begins lets go whom another one parked."""
    with place.so(fault("answer_text", key="passage-concepts/p-0[28]$", text=json.dumps(NO_QUOTE))):
        place.run("passages-pilot", "--n", "5", "--seed", "4", "--yes", values=LENIENT)
    place.run("qc", values=LENIENT)


def index_again(place: Place) -> None:
    """A second build of the index; one person who was added is due, another is in no build yet."""
    place.run("index")
    new = {"Username": "person-new", "First Name": "New", "Bio": "I mend clocks and bells."}
    with place.so(fault("status", path=ASK, code=503)):
        place.run("add-expert", place.write("new.json", json.dumps(new)))
    place.run("tag-live", "--limit", "1")


def backfill(place: Place) -> None:
    """A backfill that is killed: one batch at the API, one whose create was never sent, one prepared."""
    place.run("batch-submit", "--limit", "1", values=LENIENT)
    place.run("batch-poll", values=LENIENT)
    assert place.newest()[0] == "downloaded"
    place.put_aside()
    place.run("import-passages", place.write("second.jsonl", passages(range(9, 16))))
    words, values = ("passages-backfill", "--yes"), {**LENIENT, "BATCH_ROWS": "2"}

    def is_under_way(place: Place) -> bool:
        """Return whether its batches stand where they should."""
        found = place.workspace.query("SELECT state FROM findable_batches WHERE number > 10 ORDER BY number")
        return [row[0] for row in found] == ["submitted", "submitting", "prepared", "prepared"]

    place.die(*words, when=before(CREATE, nth=2), proof=is_under_way, paused=True, values=values)
    place.put_aside()


def batches(place: Place) -> None:
    """Batches about people in every state there is."""
    submit = ("batch-submit", "--limit", "2")
    place.run("import", place.write("third.csv", people(range(20, 37))))
    place.die(*submit, when=before_first(UPLOAD), proof=lambda place: place.newest() == BARE)
    place.run("batch-cancel", str(place.workspace.scalar("SELECT max(number) FROM findable_batches")), "--yes")
    assert place.newest()[0] == "failed"
    with place.so(fault("batch_fails", path=CREATE, times=1, error={"code": 13, "message": "it failed"})):
        place.run(*submit)
        place.run("batch-poll")
    assert place.newest()[0] == "failed", place.newest()
    place.run("batch-submit", "--limit", "1")
    place.run("batch-poll")
    assert place.newest()[0] == "downloaded"
    place.put_aside()
    place.paused = True
    lost = (fault("create_lost_reply", path=CREATE, times=1),)
    states = (
        (before_first(UPLOAD), (), BARE, 0),
        (last_commit_before(CREATE), (), UPLOADED, 0),
        (before_first(CREATE), (), UNKNOWN, 0),
        (after_reply(CREATE), (), UNKNOWN, 1),
        (after_commit_behind(CREATE), lost, UNCLEAR, 1),
        (after_commit_behind(CREATE), (), SUBMITTED, 1),
    )
    for when, faults, wanted, made in states:
        there = place.creates()

        def is_so(place: Place, there: int = there, wanted: object = wanted, made: int = made) -> bool:
            """Return whether the newest batch is as wanted, and created so often."""
            return place.newest() == wanted and place.creates() - there == made

        place.die(*submit, when=when, proof=is_so, faults=faults, paused=True)
        place.put_aside()


def live(place: Place) -> None:
    """Live claims of processes that are dead: one whose call was never sent, one whose reply was lost with them."""
    dead = "SELECT count(*) FROM findable_requests WHERE open AND batch IS NULL"
    place.die("tag-live", "--limit", "1", when=before_first(ASK), proof=lambda one: one.workspace.scalar(dead) == 1)
    place.die(
        "tag-live", "--limit", "2", when=after_reply(ASK, nth=2), proof=lambda one: one.workspace.scalar(dead) == 1
    )


def probe(place: Place) -> None:
    """A probe that is under way: its batch is at the API, and some of its live calls were made."""
    live = "SELECT count(*) FROM findable_calls WHERE purpose = 'probe' AND outcome = 'answered'"
    before_it = place.workspace.scalar(live)

    def is_open(place: Place) -> bool:
        """Return whether it is, with two of its live calls answered."""
        return (place.newest(), place.open_probes(), place.workspace.scalar(live)) == (SUBMITTED, 1, before_it + 2)

    place.die("preflight", "--probe", when=before(ASK, nth=3), proof=is_open, paused=True)


def unasked(place: Place) -> None:
    """People and passages that nothing was asked about, short ones and long ones, for the next request files."""
    place.run("import", place.write("fourth.csv", people(range(37, 52))))
    place.run("import-passages", place.write("third.jsonl", passages(range(16, 32))))


def make_local(place: Place) -> None:
    """Make the workspace on the local backend: people in an index, a batch that the engine has, a probe prepared."""
    place.run("import", place.write("people.csv", people(range(1, 9))))
    for words in ("batch-submit", "batch-poll", "batch-ingest"):
        place.run(words, values={"LIMIT": "4"})
    place.run("index")
    place.run("batch-submit", "--limit", "1")
    place.put_aside()

    def is_open(place: Place) -> bool:
        """Return whether it is, and its batch was not sent."""
        return (place.newest(), place.open_probes()) == (BARE, 1)

    place.die("preflight", "--probe", when=after_commit_behind("os.rename"), proof=is_open)
    leave(place)


def leave(place: Place) -> None:
    """Give the batches that were kept aside back, and let all that processes hold be held on another machine."""
    place.put_back()
    for table in ("findable_leases", "findable_requests", "findable_calls"):
        for (owner,) in place.workspace.query(f"SELECT DISTINCT owner FROM {table} WHERE owner IS NOT NULL"):  # noqa: S608 - our names
            elsewhere = "|".join(("maker/0/pid:[1]", "the-boot-before", *owner.split("|")[2:]))
            place.workspace.change(f"UPDATE {table} SET owner = :new WHERE owner = :old", new=elsewhere, old=owner)  # noqa: S608


WORKSPACES: dict[str, Callable[[Place], None]] = {"gemini": make_gemini, "local": make_local}


def make(folder: Path) -> None:
    """Make the fixture of the database that is set, as one archive in a folder."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name, Mortal() as mortal:
        root = Path(name) / "made"
        for backend, fill in WORKSPACES.items():
            home = root / backend
            home.mkdir(parents=True)
            place = Place(mortal, home, backend)
            fill(place)
            tidy(place)
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
        made = {"at": datetime.now(UTC).isoformat(), "commit": commit.stdout.strip(), "settings": WAITS}
        (root / "made.json").write_text(json.dumps(made, indent=1) + "\n")
        with tarfile.open(folder / f"{DATABASE}.tar.gz", "w:gz", compresslevel=9) as archive:
            archive.add(root, arcname="", filter=_of_nobody)


def tidy(place: Place) -> None:
    """Leave the folders of the workspace and of the API, and a dump of a database on a server."""
    for path in place.home.iterdir():
        if path.is_file():
            path.unlink()
    if ON_POSTGRESQL:
        server = postgresql.shared()
        url = place.workspace.environ[URL].replace("+psycopg", "")
        command = [str(server.programs / "pg_dump"), "--no-owner", "--no-privileges", url]
        done = subprocess.run(command, capture_output=True, check=True)
        (place.home / "dump.sql").write_bytes(done.stdout)


def _of_nobody(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


def main() -> None:
    """Make both fixtures, each in a process of its own, or as that process the one that is set."""
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if len(sys.argv) > 2:
        postgresql.announce()
        make(folder)
        return
    for database in ("sqlite", "postgresql"):
        environ = {**os.environ, "FINDABLE_TEST_DATABASE": database}
        command = [sys.executable, "-W", "ignore", "-m", "tests.yardstick.make", str(folder), database]
        subprocess.run(command, env=environ, check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
