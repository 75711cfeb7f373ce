"""A user's days, command by command, as the sweep lives them. A new command is one more line here.

A day's commands run in a folder of its own, on the engine or, where the day is `alone`, on the one inside the
product. After them everything is typed that `status` asks for.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from tests import postgresql
from tests.acceptance.database import sql
from tests.acceptance.engine import Engine
from tests.acceptance.process import Done
from tests.acceptance.product import HEADER, IMAGES, MODEL, PASSAGES, PEOPLE, Workspace, declaration

DONE = (0,)
DONE_BEFORE = (
    0,
    2,
)  # who was run again after having done it says that there is nothing to do it to
MOST_COMMANDS = 12  # that it may take until there is nothing to do
BEYOND = (
    "search",
    "parked",
    "import",
    "export",
)  # what `status` names when nothing is left but to look or to bring more
CALM = {"batch_looks": 1, "paused": False}
LISTED_LATE = {"list_lag_seconds": 0.5}
TRADES = (
    "bees",
    "law",
    "wine",
    "cheese",
    "bread",
    "clocks",
    "bridges",
    "chess",
    "looms",
    "soil",
    "pottery",
)


@dataclass(frozen=True)
class Command:
    """One command of a day: verb, arguments and options as a workspace takes them, and how the engine behaves.

    In peace it ends with the first of the codes `again`, run again after a death with any of them. While it dies, the
    clock is `off_days` ahead; before and afterwards it is right.
    """

    verb: str
    arguments: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    again: tuple[int, ...] = DONE
    engine: Mapping[str, Any] = field(default_factory=dict)
    off_days: int = 0


def line(
    verb: str,
    *arguments: str,
    again: tuple[int, ...] = DONE,
    engine: Mapping[str, Any] | None = None,
    off_days: int = 0,
    **options: Any,
) -> Command:
    """Return a command; `{here}` in its words is the folder of the day, in which `inputs` are."""
    return Command(verb, arguments, options, again, engine or {}, off_days)


@dataclass(frozen=True)
class Day:
    """Some commands in their order; it begins where `after` ended, with `files` put below the folder: path, input.

    What is asked meets `faults`, as the engine's control paths take them. `same` are the parts of the end that deaths
    change nothing in, where not all of them are. `theirs` are statements of another program, which change nothing when
    they are repeated. `data` is the workspace's folder, and its database is `on_server` even where those of other days
    are files; `excused` are the invariants that the day breaks on purpose.
    """

    name: str
    commands: tuple[Command, ...]
    after: str = ""
    alone: bool = False
    faults: tuple[Mapping[str, Any], ...] = ()
    same: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    task: str = ""
    theirs: tuple[str, ...] = ()
    data: str = "data"
    on_server: bool = False
    excused: tuple[str, ...] = ()
    databases: tuple[str, ...] = ("sqlite", "postgresql")

    @property
    def before(self) -> tuple["Day", ...]:
        """Return the days that it begins after, the first one first."""
        earlier = DAY_OF[self.after] if self.after else None
        return (*earlier.before, earlier) if earlier else ()


def always(fault: str, key: str = "", *, path: str = "", **args: Any) -> Mapping[str, Any]:
    """Return a fault that strikes each request with a key, or at a path."""
    match = {"key": f"{key}$"} if key else {"path": path}
    return {"fault": fault, "match": match, "nth": 1, "times": 10_000, "args": args}


UNFOUNDED = {"name": "a", "type": "task", "aliases": [], "confidence": 1, "quotes": ["not there"]}
NO_QUOTE = always("answer_text", "passage-concepts/p-3", text=json.dumps({"concepts": [UNFOUNDED]}))
HOPELESS = always("error_line", "expert-tags/9", code=3)
REFUSED = always("error_line", "expert-tags/10", code=13)
NO_LINE = always("missing_line", "expert-tags/11")
SILENT = always("status", path=":generateContent", code=503)

SUBMIT = line("submit")
POLL = line("poll")
INGEST = line("ingest")
INDEX = line("index")
COLLECT = (POLL, INGEST)
CHAIN = (SUBMIT, *COLLECT, INDEX)
EXPORT = line("export", "{here}/data/out.csv", overwrite=True)
ADD = line("add", "{here}/inputs/new.json", again=DONE_BEFORE)
ANEW = line("import_images", "{here}/photos")
# of a few passages one that never gets an answer is more than any gate allows
GATES = {"GATES": "coverage=off,parse-failure=off,concepts=off"}
REFRESH = {"REFRESH": "1"}
ONE_CALL = {"CONCURRENCY": "1"}
REVIEWS = {"tasks/reviews.py": "own.py", "tasks/reviews.csv": "own.csv"}
PHOTOS = {f"photos/{name}": name for name in ("navy.png", "lime.png", "cut.png")} | {
    "photos/again.png": "navy.png"
}
ANSWERS = ("rows", "tables", "exports", "parked", "index")
FORGOTTEN = (
    "sealed_files_are_as_sealed",
    "batches_are_made_once",
    "spend_adds_up",
)  # what is sealed anew without a row
ASKED_ANEW = (
    "nobody_is_answered_twice",
)  # rows that changed or were rolled back are asked about again
# who dies while it asks a model has that call lost, and asks again: what was paid may differ
LIVE = (*ANSWERS, "creates")
PROBED = (*LIVE, "batches")  # what is only looked at is asked again, too

_IMAGE = "INSERT INTO assets (id, path) SELECT {0}, {1} WHERE NOT EXISTS (SELECT 1 FROM assets WHERE id = {0})"
_KNOWN = (
    "INSERT INTO asset_ai (asset_id, provider, model, summary, buckets, created_at) "
    "SELECT {0}, {1}, {2}, 'Seen.', '{{{{}}}}', '2025-01-01' "
    "WHERE NOT EXISTS (SELECT 1 FROM asset_ai WHERE asset_id = {0} AND provider = {1})"
)
_COLUMNS = (
    "asset_id VARCHAR(40), provider TEXT, model TEXT, summary TEXT, buckets TEXT, created_at TEXT"
)
THEIRS = (
    "CREATE TABLE IF NOT EXISTS assets (id VARCHAR(40) PRIMARY KEY, path TEXT NOT NULL)",
    f"CREATE TABLE IF NOT EXISTS asset_ai ({_COLUMNS})",
    *(
        _IMAGE.format(f"'{name}'", f"'{{here}}/photos/{name}.png'")
        for name in ("navy", "lime", "red")
    ),
    _KNOWN.format("'navy'", "'gemini'", f"'{MODEL}'"),
    _KNOWN.format("'lime'", "'another'", f"'{MODEL}'"),
)

DAYS = (
    Day("first", (line("import", "{here}/inputs/people.csv"), *CHAIN, line("search", "water"))),
    Day(
        "second",
        (
            line("import", "{here}/inputs/more.csv", report="{here}/data/rejected.csv"),
            *CHAIN,
            line("score"),
            EXPORT,
        ),
        after="first",
        faults=(HOPELESS, REFUSED, NO_LINE),
    ),
    Day(
        "third",
        (
            line("unpark", all=True, yes=True, again=DONE_BEFORE),
            line("submit", engine={"paused": True}),
            line("cancel", "5", again=DONE_BEFORE, engine={"paused": True}),
            line("poll", engine={"paused": True}),
            INGEST,
            line("index", rollback=True, again=DONE_BEFORE),
            INDEX,
        ),
        after="second",
        faults=(HOPELESS,),
    ),
    Day(
        "keeping",
        (line("forget", "person-2", yes=True, again=DONE_BEFORE), line("clean")),
        after="second",
        excused=(*FORGOTTEN, "tags_never_change"),
        settings={"KEEP_DAYS": "0"},
    ),
    Day(
        "copied",
        (line("backup", "{here}/copy", again=DONE_BEFORE),),
        after="keeping",
        databases=("sqlite",),
    ),
    # what was restored is another workspace, in which work goes on
    Day(
        "restored",
        (
            line("restore", "{here}/copy", again=DONE_BEFORE),
            line("import", "{here}/inputs/later.csv"),
            *CHAIN,
        ),
        after="copied",
        data="restored",
        databases=("sqlite",),
    ),
    # the same with its tables on a server
    Day(
        "moved",
        (
            line("restore", "{here}/copy", again=DONE_BEFORE),
            line("import", "{here}/inputs/later.csv"),
            *CHAIN,
        ),
        after="copied",
        data="moved",
        on_server=True,
        databases=("sqlite",),
    ),
    # the clock is wrong while a command dies, and right when it is typed again; new batches are listed late
    Day(
        "clock",
        (
            line("import", "{here}/inputs/people.csv"),
            line("submit", off_days=40, engine=LISTED_LATE),
            line("poll", off_days=-3),
            line("ingest", off_days=40),
            line("import", "{here}/inputs/more.csv"),
            line("submit", off_days=-3, engine=LISTED_LATE),
            line("poll", off_days=40),
            line("ingest", off_days=-3),
            INDEX,
        ),
        settings={"LIST_LAG": "1"},
        databases=("sqlite",),
    ),
    Day(
        "taken-back",
        (line("rollback", "expert-tags@2", yes=True, again=DONE_BEFORE), *CHAIN),
        after="first",
        excused=("tags_never_change", *ASKED_ANEW),
    ),
    Day(
        "merged",
        (
            line("tags", merge="beekeeping=apiculture; law=legal work", who="ada"),
            line("correct", "person-1", set="tags=by hand", who="ada"),
            line("tags", undo=1, who="bob", again=DONE_BEFORE),
            line("correct", "person-1", undo=1, who="bob"),
            INDEX,
        ),
        after="first",
        excused=("tags_never_change",),
    ),
    # the words of all are taken away, and the build before that is put back
    Day(
        "worse",
        (
            line("import", "{here}/inputs/worse.csv"),
            INDEX,
            line("index", rollback=True, again=DONE_BEFORE),
            INDEX,
        ),
        after="first",
    ),
    # who dies here is saved without tags and goes out with a batch, so where the tags came from may differ
    Day("added", (ADD, INDEX), after="first", same=ANSWERS),
    Day(
        "pilot",
        (line("import", "{here}/inputs/people.csv"), line("submit", pilot=5), *COLLECT, INDEX),
        same=PROBED,
    ),
    Day(
        "live",
        (line("import", "{here}/inputs/more.csv"), line("tag_live"), INDEX),
        after="first",
        same=LIVE,
        settings=ONE_CALL,
    ),
    # what is asked live stands between what is asked by batch
    Day(
        "switched",
        (
            line("import", "{here}/inputs/more.csv"),
            line("submit", limit=2),
            line("tag_live", limit=1),
            *COLLECT,
            line("tag_live"),
            INDEX,
        ),
        after="first",
        same=ANSWERS,
    ),
    Day("due", (ADD, *CHAIN), after="first", faults=(SILENT,), same=ANSWERS),
    Day(
        "alone",
        (line("import", "{here}/inputs/people.csv"), *CHAIN, line("search", "water")),
        alone=True,
    ),
    Day(
        "alone-flex",
        (line("import", "{here}/inputs/more.csv"), line("tag", mode="flex"), INDEX),
        after="alone",
        alone=True,
        same=LIVE,
    ),
    Day(
        "passages",
        (
            line("import_passages", "{here}/inputs/passages.jsonl"),
            line("pilot", N=2, seed=2),  # draws none of those without an answer
            line("backfill", wait=True, yes=True),
            line("qc"),
        ),
        same=PROBED,
        faults=(NO_QUOTE,),
        settings=GATES,
        task=PASSAGES,
    ),
    Day(
        "passages-anew",
        (line("backfill", no_resume=True, skip_pilot=True, wait=True, yes=True),),
        after="passages",
        faults=(NO_QUOTE,),
        settings={**GATES, "VERSION": "anew@1", "BATCH_ROWS": "5"},
        task=PASSAGES,
    ),
    Day(
        "passages-back",
        (
            line("rollback", "anew@1", yes=True, again=DONE_BEFORE),
            line("backfill", wait=True, yes=True),
        ),
        after="passages-anew",
        excused=ASKED_ANEW,
        faults=(NO_QUOTE,),
        settings=GATES,
        task=PASSAGES,
    ),
    # the file that declares the task and the one with its rows are as they are when a day begins
    Day(
        "own",
        (line("preflight"), line("try", N=2), SUBMIT, *COLLECT, EXPORT),
        same=ANSWERS,  # who dies while it tries asks again, in a batch with another number
        task="reviews",
        files=REVIEWS,
    ),
    Day(
        "own-changed",
        (SUBMIT, *COLLECT, EXPORT),
        after="own",
        settings=REFRESH,
        excused=ASKED_ANEW,
        task="reviews",
        files={"tasks/reviews.csv": "own-changed.csv"},
    ),
    Day(
        "own-raised",
        (SUBMIT, *COLLECT, EXPORT, line("rollback", "reviews@1", yes=True, again=DONE_BEFORE)),
        after="own-changed",
        excused=ASKED_ANEW,
        task="reviews",
        files={"tasks/reviews.py": "own-raised.py"},
    ),
    # what becomes of an index in a folder of its own; the rows that changed are asked about again
    Day(
        "own-indexed",
        (
            INDEX,
            line("search", "water"),
            *CHAIN,
            line("forget", item="r-2", yes=True, again=DONE_BEFORE),
        ),
        after="own",
        settings=REFRESH,
        excused=(*FORGOTTEN, *ASKED_ANEW),
        task="reviews",
        files={"tasks/reviews.py": "own-indexed.py", "tasks/reviews.csv": "own-changed.csv"},
    ),
    Day(
        "own-live",
        (line("try", item="r-3"), line("tag_live"), EXPORT),
        settings=ONE_CALL,
        same=LIVE,
        task="reviews",
        files=REVIEWS,
    ),
    Day(
        "own-live-changed",
        (line("tag_live"), line("try", seed=7), EXPORT),
        after="own-live",
        settings=REFRESH,
        excused=ASKED_ANEW,
        same=LIVE,
        task="reviews",
        files={"tasks/reviews.csv": "own-changed.csv"},
    ),
    # the rows that a question with a name asks are rows of its task, before it makes its first call
    Day(
        "asked",
        (
            line(
                "ask", "{here}/letters.csv", q="Praise?", fields="why: quote", name="letters", n=3
            ),
            line("tag_live"),
            EXPORT,
        ),
        settings=ONE_CALL,
        same=LIVE,
        task="letters",
        files={"letters.csv": "own.csv"},
    ),
    # rows that ask the same are asked about once, those that come later too
    Day(
        "own-equal",
        (SUBMIT, *COLLECT),
        task="reviews",
        files=REVIEWS | {"tasks/reviews.csv": "own-equal.csv"},
    ),
    Day(
        "own-equal-later",
        (line("tag_live", limit=1), SUBMIT, *COLLECT),
        after="own-equal",
        same=ANSWERS,
        task="reviews",
        files={"tasks/reviews.csv": "own-equal-later.csv"},
    ),
    # equal images are asked about once, and what cannot be opened is not
    Day(
        "images",
        (ANEW, SUBMIT, *COLLECT, EXPORT),
        task=IMAGES,
        files=PHOTOS | {"photos/red.png": "red.png"},
    ),
    # one image changed, one can be opened now, one is new, and one of two that are equal is forgotten
    Day(
        "images-changed",
        (ANEW, *CHAIN, line("forget", item="1", yes=True, again=DONE_BEFORE)),
        after="images",
        excused=FORGOTTEN,
        task=IMAGES,
        files={
            "photos/red.png": "gold.png",
            "photos/cut.png": "teal.png",
            "photos/new.png": "pink.png",
        },
    ),
    # images that another program has, of which it knows one as this product would
    Day(
        "adopted",
        (line("tag_live"), EXPORT),
        settings={"YES": "1"},
        same=LIVE,
        task=IMAGES,
        theirs=THEIRS,
        files={f"photos/{name}.png": f"{name}.png" for name in ("navy", "lime", "red")},
    ),
    Day(
        "images-live", (ANEW, line("tag_live"), EXPORT, INDEX), task=IMAGES, files=PHOTOS, same=LIVE
    ),
)
DAY_OF = {day.name: day for day in DAYS}


def live(day: Day, home: Path, engine: Engine) -> list[Done]:
    """Live a day in peace in a folder, and what it begins after where the folder is not there; return its commands.

    Raises:
        AssertionError: a command ended as it should not.
    """
    if not home.exists():
        for earlier in day.before:
            live_on(earlier, home, engine)
    return live_on(day, home, engine)


def live_on(day: Day, home: Path, engine: Engine, **how: Any) -> list[Done]:
    """Live a day in a folder in which all has been lived that it begins after; `how` as `type_in` takes it."""
    here = begin(day, home, engine)
    ended = [type_in(here, day, engine, command, **how) for command in day.commands]
    finish(here, day, engine)
    return ended


def begin(day: Day, home: Path, engine: Engine) -> Workspace:
    """Return the workspace of a day in a folder, with the day's files put there; no command has run."""
    if not (home / "inputs").exists():
        write_inputs(home / "inputs")
    for path, name in day.files.items():
        (home / path).parent.mkdir(exist_ok=True)
        (home / path).write_bytes((home / "inputs" / name).read_bytes())
    settings = {"BATCH_ROWS": "4", **day.settings}
    if day.on_server:
        settings["DATABASE_URL"] = postgresql.database_of(home / day.data)
    workspace = Workspace(home, "" if day.alone else engine.url, day.task, settings)
    workspace.data = home / day.data
    workspace.below = home
    for statement in day.theirs:
        sql(workspace, statement.format(here=home))
    workspace.seen = {one.task or PEOPLE for one in (*day.before, day)}
    return workspace


def type_in(
    here: Workspace,
    day: Day,
    engine: Engine,
    command: Command,
    *,
    codes: Sequence[int] = (),
    **how: Any,
) -> Done:
    """Run one command of a day, on the engine as the command wants it; it ends as in peace, or with one of `codes`.

    With its `fate`, or `read_only`, it is a process of its own.
    """
    behave(day, engine, command.engine)
    words = [word.format(here=here.home) for word in command.arguments]
    options = {name: _placed(value, here.home) for name, value in command.options.items()}
    process = here.run(command.verb, *words, **how, **options)
    assert process.code in (codes or command.again[:1]), (day.name, command, how, process)
    return process


def behave(day: Day, engine: Engine, how: Mapping[str, Any]) -> None:
    """Let the engine behave as a command wants it, with the faults of the day."""
    if not day.alone:
        engine.clear_faults()
        for one in day.faults:
            engine.fault(
                one["fault"], nth=one["nth"], times=one["times"], args=one["args"], **one["match"]
            )
        engine.configure(**{**CALM, **how})


def finish(here: Workspace, day: Day, engine: Engine) -> None:
    """Type what `status` says until it has nothing to say but to search, to bring more, or to look at who is parked.

    Raises:
        AssertionError: there is always something more to do.
    """
    behave(day, engine, {})
    for verb, *words in _wanted(here):
        here.do(
            "submit" if verb == "tag" else verb,
            *words,
            **({"yes": True} if verb.startswith("passages") else {}),
        )


def _wanted(here: Workspace) -> Iterator[list[str]]:
    for _ in range(MOST_COMMANDS):
        words = here.next()
        if not words or words[0] in BEYOND:
            return
        yield words
    raise AssertionError(f"still something to do: {words}")


def _placed(value: Any, home: Path) -> Any:
    return value.format(here=home) if isinstance(value, str) else value


def write_inputs(folder: Path) -> None:
    """Write the files that the commands read: seven people with a bio, then four more, and one.

    And five passages, images of one colour each and one that is cut off, and files of a declared task and its rows: as
    they are first, and as they are later.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        f"person-{number},Given{number},Name{number},Keeper of {trade},House of {trade},My work is {trade} and water.\n"
        for number, trade in enumerate(TRADES)
    ]
    passages = [
        {
            "id": f"p-{number}",
            "text": f"We study {trade} in wet cellars. \U0001f41d Old {trade} keep longer than new {trade}.",
        }
        for number, trade in enumerate(TRADES[:5])
    ]
    reviews = [
        f"r-{number},{trade},Old {trade} keep longer than new {trade}. I praise the {trade}.\n"
        for number, trade in enumerate(TRADES)
    ]
    equal = [
        f"r-{number},{reviews[at].partition(',')[2]}"
        for number, at in enumerate((0, 1, 0, 1, 2, 0, 2, 3, 3, 1))
    ]
    columns = "id,product,text\n"
    blank = "blank,,\n"
    texts = {
        "people.csv": [HEADER, *rows[:7], "silent,No,Bio,Baker,,\n"],
        "more.csv": [HEADER, rows[1].replace("Keeper", "Friend"), *rows[7:], ",Nobody,,,,\n"],
        "later.csv": [HEADER, "late,Late,Comer,Keeper of doors,,My work is doors and water.\n"],
        "worse.csv": [HEADER, *(f"person-{number},,,,,Nothing to tell.\n" for number in range(7))],
        "new.json": [
            json.dumps({"Username": "new", "First Name": "New", "Bio": "I mend clocks and bells."})
        ],
        "passages.jsonl": [f"{json.dumps(passage)}\n" for passage in passages],
        "own.csv": [columns, *reviews[:6], blank],
        "own-changed.csv": [
            columns,
            reviews[1].replace("I praise", "But I blame"),
            *reviews[2:9],
            blank,
        ],
        "own-equal.csv": [columns, *equal[:5]],
        "own-equal-later.csv": [columns, *equal],
        "own.py": [own_task()],
        "own-indexed.py": [own_task('index="{text} {tags}"')],
        "own-raised.py": [own_task(version=2, stars="int | None = None")],
    }
    for name, lines in texts.items():
        (folder / name).write_text("".join(lines), encoding="utf-8")
    for colour in ("navy", "lime", "red", "gold", "teal", "pink"):
        Image.new("RGB", (24, 16), colour).save(folder / f"{colour}.png")
    (folder / "cut.png").write_bytes((folder / "teal.png").read_bytes()[:40])


def own_task(*more: str, version: int = 1, **fields: str) -> str:
    """Return the file of the task `reviews`, with further arguments, and fields of its answer."""
    typed = {
        "verdict": 'Literal["praise", "blame"]',
        "quote": "Quote",
        "tags": "list[str]",
        **fields,
    }
    arguments = (f"version={version}", "refresh=True", 'label="{id}"', *more)
    return declaration(typed, prompt="{product}: {text}", items="reviews.csv", more=arguments)
