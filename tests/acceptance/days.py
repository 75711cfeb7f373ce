"""Define the days of the sweep, command by command. A new command is a line of this file.

The commands of a day run in a separate folder, on the engine or, if the day `is_embedded`, on the
engine inside the product. After them every command runs that `status` proposes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from tests import postgresql
from tests.acceptance.database import run_sql
from tests.acceptance.engine import LIVE_CALL, Engine
from tests.acceptance.process import EndedCommand
from tests.acceptance.product import (
    HEADER,
    IMAGES,
    MODEL,
    PASSAGES,
    PEOPLE,
    Workspace,
    write_declaration,
)

SUCCESS = (0,)
# A command that succeeded before may refuse to run again.
SUCCESS_OR_REFUSAL = (0, 2)
# The exit code of a command that reports a held batch.
HELD = 5
# After this number of proposed commands `status` must propose nothing.
MAX_PROPOSALS = 12
# `status` proposes these commands when only reading or importing is left.
OPTIONAL_COMMANDS = ("search", "parked", "import", "export")
ENGINE_DEFAULTS = {"batch_looks": 1, "paused": False}
SLOW_LIST = {"list_lag_seconds": 0.5}
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
    """A command of a day, as a workspace runs it."""

    verb: str
    arguments: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    # Without a fault the command ends with the first code. After a death it ends with any of them.
    repeated_codes: tuple[int, ...] = SUCCESS
    # Settings of the engine during the command.
    engine: Mapping[str, Any] = field(default_factory=dict)
    # Days by which the clock is ahead while the command dies. Its other runs have the right clock.
    off_days: int = 0


def line(
    verb: str,
    *arguments: str,
    repeated_codes: tuple[int, ...] = SUCCESS,
    engine: Mapping[str, Any] | None = None,
    off_days: int = 0,
    **options: Any,
) -> Command:
    """Return a command; `{home}` in its words is the folder of the day, with `inputs_noun`."""
    return Command(verb, arguments, options, repeated_codes, engine or {}, off_days)


def read_from(name: str) -> dict[str, Any]:
    """Return the option that names an input file; `from` is a word of Python."""
    return {"from": f"{{home}}/inputs/{name}"}


@dataclass(frozen=True)
class Day:
    """A sequence of commands."""

    name: str
    commands: tuple[Command, ...]
    # The earlier day at whose end this day begins.
    after: str = ""
    # The day uses the engine inside the product.
    is_embedded: bool = False
    # Faults of the engine, as its control paths define them.
    faults: tuple[Mapping[str, Any], ...] = ()
    # Parts of the end that deaths do not change; empty means all parts.
    compared_parts: tuple[str, ...] = ()
    # Inputs by the path to which they are copied when the day begins.
    files: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    task: str = ""
    # Statements of another program. A repetition of a statement changes nothing.
    foreign_statements: tuple[str, ...] = ()
    # The folder of the workspace.
    data: str = "data"
    # The database is on a server even if the databases of other days are files.
    on_server: bool = False
    # Invariants that the day breaks on purpose.
    excused: tuple[str, ...] = ()
    databases: tuple[str, ...] = ("sqlite", "postgresql")

    @property
    def earlier_days(self) -> tuple["Day", ...]:
        """Return the days before this day, the first day first."""
        if not self.after:
            return ()
        previous_day = DAY_OF[self.after]
        return (*previous_day.earlier_days, previous_day)


def make_fault(fault: str, key: str = "", *, path: str = "", **args: Any) -> Mapping[str, Any]:
    """Return a fault of every request with a key, or at a path."""
    match = {"key": f"{key}$"} if key else {"path": path}
    return {"fault": fault, "match": match, "nth": 1, "times": 10_000, "args": args}


UNFOUNDED_CONCEPT = {
    "name": "a",
    "type": "task",
    "aliases": [],
    "confidence": 1,
    "quotes": ["not there"],
}
UNFOUNDED_ANSWER = json.dumps({"concepts": [UNFOUNDED_CONCEPT]})
NO_QUOTE = make_fault("answer_text", "passage-concepts/p-3", text=UNFOUNDED_ANSWER)
HOPELESS = make_fault("error_line", "experts/9", code=3)
REFUSED = make_fault("error_line", "experts/10", code=13)
MIXED_UP = make_fault("answer_text", "control-[12]", text='{"tags": ["law"]}')
NEVER_RUNS = make_fault("never_ends")
NO_LINE = make_fault("missing_line", "experts/11")
SILENT = make_fault("status", path=LIVE_CALL, code=503)

SUBMIT = line("submit")
SUBMIT_CHANGED = line("submit", refresh=True)
POLL = line("poll")
INGEST = line("ingest")
INDEX = line("index")
COLLECT = (POLL, INGEST)
CHAIN = (SUBMIT, *COLLECT, INDEX)
EXPORT = line("export", "{home}/data/out.csv", overwrite=True)
ADD = line("add", "{home}/inputs/new.json", repeated_codes=SUCCESS_OR_REFUSAL)
IMPORT_PHOTOS = line("import_images", "{home}/photos")
# Among a few passages, a single passage without an answer already fails these gates.
GATES = {"GATES": "coverage=off,parse-failure=off,concepts=off"}
ONE_CALL = {"CONCURRENCY": "1"}
REVIEWS = {"tasks/reviews.py": "own.py", "tasks/reviews.csv": "own.csv"}
PHOTOS = {
    "photos/navy.png": "navy.png",
    "photos/lime.png": "lime.png",
    "photos/cut.png": "cut.png",
    "photos/again.png": "navy.png",
}
ANSWERS = ("rows", "tables", "exports", "parked", "index")
# The files of batches are sealed again without the forgotten row.
FORGOTTEN = ("sealed_files_are_as_sealed", "batches_are_made_once", "spend_adds_up")
# Changed rows and rows of a removed version are asked again.
REPEATED_REQUESTS = ("nobody_is_answered_twice",)
# A killed command loses its live call and repeats it, so the cost may differ.
LIVE = (*ANSWERS, "creates")
# A killed trial asks again too.
PROBED = (*LIVE, "batches")

_IMAGE_STATEMENT = (
    "INSERT INTO assets (id, path) SELECT {0}, {1} "
    "WHERE NOT EXISTS (SELECT 1 FROM assets WHERE id = {0})"
)
_ANSWER_STATEMENT = (
    "INSERT INTO asset_ai (asset_id, provider, model, summary, buckets, created_at) "
    "SELECT {0}, {1}, {2}, 'Seen.', '{{{{}}}}', '2025-01-01' "
    "WHERE NOT EXISTS (SELECT 1 FROM asset_ai WHERE asset_id = {0} AND provider = {1})"
)
_ANSWER_COLUMNS = (
    "asset_id VARCHAR(40), provider TEXT, model TEXT, summary TEXT, buckets TEXT, created_at TEXT"
)
FOREIGN_STATEMENTS = (
    "CREATE TABLE IF NOT EXISTS assets (id VARCHAR(40) PRIMARY KEY, path TEXT NOT NULL)",
    f"CREATE TABLE IF NOT EXISTS asset_ai ({_ANSWER_COLUMNS})",
    _IMAGE_STATEMENT.format("'navy'", "'{home}/photos/navy.png'"),
    _IMAGE_STATEMENT.format("'lime'", "'{home}/photos/lime.png'"),
    _IMAGE_STATEMENT.format("'red'", "'{home}/photos/red.png'"),
    _ANSWER_STATEMENT.format("'navy'", "'gemini'", f"'{MODEL}'"),
    _ANSWER_STATEMENT.format("'lime'", "'another'", f"'{MODEL}'"),
)

DAYS = (
    Day("first", (line("import", "{home}/inputs/people.csv"), *CHAIN, line("search", "water"))),
    Day(
        "second",
        (
            line("import", "{home}/inputs/more.csv", report="{home}/data/rejected.csv"),
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
            line("unpark", all=True, yes=True, repeated_codes=SUCCESS_OR_REFUSAL),
            line("submit", engine={"paused": True}),
            line("cancel", "5", repeated_codes=SUCCESS_OR_REFUSAL, engine={"paused": True}),
            line("poll", engine={"paused": True}),
            INGEST,
            line("index", rollback=True, repeated_codes=SUCCESS_OR_REFUSAL),
            INDEX,
        ),
        after="second",
        faults=(HOPELESS,),
    ),
    Day(
        "keeping",
        (line("forget", "person-2", yes=True, repeated_codes=SUCCESS_OR_REFUSAL), line("clean")),
        after="second",
        excused=(*FORGOTTEN, "tags_never_change"),
        settings={"KEEP_DAYS": "0"},
    ),
    Day(
        "copied",
        (line("backup", "{home}/copy", repeated_codes=SUCCESS_OR_REFUSAL),),
        after="keeping",
        databases=("sqlite",),
    ),
    # A restored copy is another workspace, and the user continues in it.
    Day(
        "restored",
        (
            line("restore", "{home}/copy", repeated_codes=SUCCESS_OR_REFUSAL),
            line("import", "{home}/inputs/later.csv"),
            *CHAIN,
        ),
        after="copied",
        data="restored",
        databases=("sqlite",),
    ),
    # The restored workspace has its tables on a server.
    Day(
        "moved",
        (
            line("restore", "{home}/copy", repeated_codes=SUCCESS_OR_REFUSAL),
            line("import", "{home}/inputs/later.csv"),
            *CHAIN,
        ),
        after="copied",
        data="moved",
        on_server=True,
        databases=("sqlite",),
    ),
    # The clock is wrong while a command dies, and right when the user types it again. The list of
    # batches shows new batches late.
    Day(
        "clock",
        (
            line("import", "{home}/inputs/people.csv"),
            line("submit", off_days=40, engine=SLOW_LIST),
            line("poll", off_days=-3),
            line("ingest", off_days=40),
            line("import", "{home}/inputs/more.csv"),
            line("submit", off_days=-3, engine=SLOW_LIST),
            line("poll", off_days=40),
            line("ingest", off_days=-3),
            INDEX,
        ),
        settings={"LIST_LAG": "1"},
        databases=("sqlite",),
    ),
    # Two control requests get replies to rows, so the batch is held until a person accepts it.
    Day(
        "held",
        (
            line("import", "{home}/inputs/many.csv"),
            SUBMIT,
            POLL,
            line("ingest", repeated_codes=(HELD,)),
            line("poll", batch=1, repeated_codes=SUCCESS_OR_REFUSAL),
            line("ingest", accept=1, repeated_codes=SUCCESS_OR_REFUSAL),
            INDEX,
        ),
        faults=(MIXED_UP,),
        settings={"BATCH_ROWS": "50"},
    ),
    # The first batch does not run until it is cancelled, and its rows are asked by single calls.
    Day(
        "moved-batch",
        (
            line("import", "{home}/inputs/people.csv"),
            SUBMIT,
            line("batch_move", "1", to="flex", repeated_codes=SUCCESS_OR_REFUSAL),
            *COLLECT,
            INDEX,
        ),
        compared_parts=LIVE,
        faults=(NEVER_RUNS,),
        settings={**ONE_CALL, "BATCH_ROWS": "50"},
    ),
    # Closed questions are decided.
    Day(
        "decided",
        (line("tag", mode="decide"), EXPORT),
        files={"tasks/reviews.py": "closed.py", "tasks/reviews.csv": "own-equal-later.csv"},
        settings=ONE_CALL,
        task="reviews",
        compared_parts=LIVE,
    ),
    Day(
        "taken-back",
        (line("rollback", "experts@3", yes=True, repeated_codes=SUCCESS_OR_REFUSAL), *CHAIN),
        after="first",
        excused=("tags_never_change", *REPEATED_REQUESTS),
    ),
    Day(
        "merged",
        (
            line("tags", merge="beekeeping=apiculture; law=legal work", who="ada"),
            line("correct", "person-1", set="tags=by hand", who="ada"),
            line("tags", undo=1, who="bob", repeated_codes=SUCCESS_OR_REFUSAL),
            line("correct", "person-1", undo=1, who="bob"),
            INDEX,
        ),
        after="first",
        excused=("tags_never_change",),
    ),
    # All biographies are replaced, and the user rolls the index back to the previous build.
    Day(
        "worse",
        (
            line("import", "{home}/inputs/worse.csv"),
            INDEX,
            line("index", rollback=True, repeated_codes=SUCCESS_OR_REFUSAL),
            INDEX,
        ),
        after="first",
    ),
    # A killed command saves a person without tags, and a batch then tags the person. So the source
    # of the tags may differ.
    Day("added", (ADD, INDEX), after="first", compared_parts=ANSWERS),
    Day(
        "pilot",
        (line("import", "{home}/inputs/people.csv"), line("submit", pilot=5), *COLLECT, INDEX),
        compared_parts=PROBED,
    ),
    Day(
        "live",
        (line("import", "{home}/inputs/more.csv"), line("tag_live"), INDEX),
        after="first",
        compared_parts=LIVE,
        settings=ONE_CALL,
    ),
    # Live calls run between two batches.
    Day(
        "switched",
        (
            line("import", "{home}/inputs/more.csv"),
            line("submit", limit=2),
            line("tag_live", limit=1),
            *COLLECT,
            line("tag_live"),
            INDEX,
        ),
        after="first",
        compared_parts=ANSWERS,
    ),
    Day("due", (ADD, *CHAIN), after="first", faults=(SILENT,), compared_parts=ANSWERS),
    Day(
        "alone",
        (line("import", "{home}/inputs/people.csv"), *CHAIN, line("search", "water")),
        is_embedded=True,
    ),
    Day(
        "alone-flex",
        (line("import", "{home}/inputs/more.csv"), line("tag", mode="flex"), INDEX),
        after="alone",
        is_embedded=True,
        compared_parts=LIVE,
    ),
    Day(
        "passages",
        (
            line("import_passages", "{home}/inputs/passages.jsonl"),
            # This seed draws no passage without an answer.
            line("pilot", N=2, seed=2),
            line("backfill", wait=True, yes=True),
            line("qc"),
        ),
        compared_parts=PROBED,
        faults=(NO_QUOTE,),
        settings=GATES,
        task=PASSAGES,
    ),
    Day(
        "passages-anew",
        (line("backfill", skip_pilot=True, wait=True, yes=True),),
        after="passages",
        faults=(NO_QUOTE,),
        settings={**GATES, "VERSION": "anew@1", "BATCH_ROWS": "5"},
        task=PASSAGES,
    ),
    Day(
        "passages-back",
        (
            line("rollback", "anew@1", yes=True, repeated_codes=SUCCESS_OR_REFUSAL),
            line("backfill", wait=True, yes=True),
        ),
        after="passages-anew",
        excused=REPEATED_REQUESTS,
        faults=(NO_QUOTE,),
        settings=GATES,
        task=PASSAGES,
    ),
    # Passes of `work` submit, ingest, and submit what came meanwhile.
    Day(
        "worked",
        (
            line("import", "{home}/inputs/people.csv"),
            line("run"),
            line("run"),
            line("import", "{home}/inputs/more.csv"),
            line("run"),
            line("run"),
            INDEX,
        ),
        faults=(REFUSED,),
        compared_parts=ANSWERS,
    ),
    # Rows of a table of the database come from files, and one by one.
    Day(
        "table",
        (
            line("import", **read_from("boats.csv")),
            SUBMIT,
            *COLLECT,
            line(
                "add_row",
                **read_from("boat.json"),
                repeated_codes=SUCCESS_OR_REFUSAL,
            ),
            line("import", **read_from("more-boats.csv")),
            SUBMIT,
            *COLLECT,
            line("forget", row="b-2", yes=True, repeated_codes=SUCCESS_OR_REFUSAL),
            EXPORT,
        ),
        task="boats",
        files={"tasks/boats.py": "boats.py"},
        settings={"YES": "1"},
        compared_parts=ANSWERS,
        excused=FORGOTTEN,
    ),
    # The file of the task and the file of its rows change only at the beginning of a day.
    Day(
        "own",
        (line("preflight"), line("try", N=2), SUBMIT, *COLLECT, EXPORT),
        # A killed trial asks again, and the next batch then has another number.
        compared_parts=ANSWERS,
        task="reviews",
        files=REVIEWS,
    ),
    Day(
        "own-changed",
        (SUBMIT_CHANGED, *COLLECT, EXPORT),
        after="own",
        excused=REPEATED_REQUESTS,
        task="reviews",
        files={"tasks/reviews.csv": "own-changed.csv"},
    ),
    # A person asks for two answered rows again.
    Day(
        "own-again",
        (
            line("tag", where="id = 'r-1' OR id = 'r-3'", again=True, mode="batch", yes=True),
            *COLLECT,
            EXPORT,
        ),
        after="own",
        excused=REPEATED_REQUESTS,
        task="reviews",
    ),
    Day(
        "own-raised",
        (
            SUBMIT,
            *COLLECT,
            EXPORT,
            line("rollback", "reviews@1", yes=True, repeated_codes=SUCCESS_OR_REFUSAL),
        ),
        after="own-changed",
        excused=REPEATED_REQUESTS,
        task="reviews",
        files={"tasks/reviews.py": "own-raised.py"},
    ),
    # The task gets an index in a separate folder, and its changed rows are asked again.
    Day(
        "own-indexed",
        (
            INDEX,
            line("search", "water"),
            SUBMIT_CHANGED,
            *COLLECT,
            INDEX,
            line("forget", row="r-2", yes=True, repeated_codes=SUCCESS_OR_REFUSAL),
        ),
        after="own",
        excused=(*FORGOTTEN, *REPEATED_REQUESTS),
        task="reviews",
        files={"tasks/reviews.py": "own-indexed.py", "tasks/reviews.csv": "own-changed.csv"},
    ),
    Day(
        "own-live",
        (line("try", row="r-3"), line("tag_live"), EXPORT),
        settings=ONE_CALL,
        compared_parts=LIVE,
        task="reviews",
        files=REVIEWS,
    ),
    Day(
        "own-live-changed",
        (line("tag_live", refresh=True), line("try", seed=7), EXPORT),
        after="own-live",
        excused=REPEATED_REQUESTS,
        compared_parts=LIVE,
        task="reviews",
        files={"tasks/reviews.csv": "own-changed.csv"},
    ),
    # A named question stores its rows as rows of its task before its first call.
    Day(
        "asked",
        (
            line(
                "ask", "{home}/letters.csv", q="Praise?", fields="why: quote", name="letters", n=3
            ),
            line("tag_live"),
            EXPORT,
        ),
        settings=ONE_CALL,
        compared_parts=LIVE,
        task="letters",
        files={"letters.csv": "own.csv"},
    ),
    # Equal rows share a request, including rows that are added later.
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
        compared_parts=ANSWERS,
        task="reviews",
        files={"tasks/reviews.csv": "own-equal-later.csv"},
    ),
    # Equal images share a request, and an unreadable image has no request.
    Day(
        "images",
        (IMPORT_PHOTOS, SUBMIT, *COLLECT, EXPORT),
        task=IMAGES,
        files=PHOTOS | {"photos/red.png": "red.png"},
    ),
    # An image changes, an unreadable image is replaced, an image is added, and the user forgets
    # an image that has an equal image.
    Day(
        "images-changed",
        (
            IMPORT_PHOTOS,
            *CHAIN,
            line("forget", row="1", yes=True, repeated_codes=SUCCESS_OR_REFUSAL),
        ),
        after="images",
        excused=FORGOTTEN,
        task=IMAGES,
        files={
            "photos/red.png": "gold.png",
            "photos/cut.png": "teal.png",
            "photos/new.png": "pink.png",
        },
    ),
    # Another program has a table of images, and an answer of our model about an image.
    Day(
        "adopted",
        (line("tag_live"), EXPORT),
        settings={"YES": "1"},
        compared_parts=LIVE,
        task=IMAGES,
        foreign_statements=FOREIGN_STATEMENTS,
        files={f"photos/{name}.png": f"{name}.png" for name in ("navy", "lime", "red")},
    ),
    Day(
        "images-live",
        (IMPORT_PHOTOS, line("tag_live"), EXPORT, INDEX),
        task=IMAGES,
        files=PHOTOS,
        compared_parts=LIVE,
    ),
)
DAY_OF = {day.name: day for day in DAYS}


def run_day(day: Day, home: Path, engine: Engine) -> list[EndedCommand]:
    """Run a day without a fault in a folder; in a new folder run its earlier days first.

    Raises:
        AssertionError: A command ended with an unexpected code.
    """
    if not home.exists():
        for earlier_day in day.earlier_days:
            run_day_alone(earlier_day, home, engine)
    return run_day_alone(day, home, engine)


def run_day_alone(day: Day, home: Path, engine: Engine, **options: Any) -> list[EndedCommand]:
    """Run a day in a folder in which its earlier days ran; return its ended commands.

    Args:
        options: Options of `run_day_command`.
    """
    workspace = begin_day(day, home, engine)
    processes = [
        run_day_command(workspace, day, engine, command, **options) for command in day.commands
    ]
    finish_day(workspace, day, engine)
    return processes


def begin_day(day: Day, home: Path, engine: Engine) -> Workspace:
    """Copy the files of a day to its folder, and return its workspace; no command runs."""
    if not (home / "inputs").exists():
        write_inputs(home / "inputs")
    for path, name in day.files.items():
        (home / path).parent.mkdir(exist_ok=True)
        (home / path).write_bytes((home / "inputs" / name).read_bytes())

    settings = {"BATCH_ROWS": "4", **day.settings}
    if day.on_server:
        settings["DATABASE_URL"] = postgresql.database_of(home / day.data)
    workspace = Workspace(home, "" if day.is_embedded else engine.url, day.task, settings)
    workspace.data = home / day.data
    workspace.step_folder = home
    for statement in day.foreign_statements:
        run_sql(workspace, statement.format(home=home))
    workspace.used_tasks = {
        previous_day.task or PEOPLE for previous_day in (*day.earlier_days, day)
    }
    return workspace


def run_day_command(
    workspace: Workspace,
    day: Day,
    engine: Engine,
    command: Command,
    *,
    codes: Sequence[int] = (),
    **run_options: Any,
) -> EndedCommand:
    """Run a command of a day with the engine settings that the command defines.

    Args:
        codes: Allowed exit codes; by default the code of a run without a fault.
        run_options: With `fate` or `read_only` the command is a separate process.
    """
    configure_engine(day, engine, command.engine)
    words = [word.format(home=workspace.home) for word in command.arguments]
    options = {name: _fill_in(value, workspace.home) for name, value in command.options.items()}
    process = workspace.try_command(command.verb, *words, **run_options, **options)
    allowed_codes = codes or command.repeated_codes[:1]
    assert process.code in allowed_codes, (day.name, command, run_options, process)
    return process


def configure_engine(day: Day, engine: Engine, settings: Mapping[str, Any]) -> None:
    """Set the settings of a command and the faults of the day."""
    if day.is_embedded:
        return
    engine.clear_faults()
    for fault in day.faults:
        engine.script_fault(
            fault["fault"],
            nth=fault["nth"],
            times=fault["times"],
            args=fault["args"],
            **fault["match"],
        )
    engine.configure(**{**ENGINE_DEFAULTS, **settings})


def finish_day(workspace: Workspace, day: Day, engine: Engine) -> None:
    """Run the commands that `status` proposes until only optional commands are left.

    Raises:
        AssertionError: `status` proposes more and more commands.
    """
    configure_engine(day, engine, {})
    for verb, *words in _proposed_commands(workspace):
        options = {"yes": True} if verb.startswith("passages") else {}
        # The other commands do without their options.
        arguments = words if verb == "batch-move" else []
        workspace.run_command("submit" if verb == "tag" else verb, *arguments, **options)


def _proposed_commands(workspace: Workspace) -> Iterator[list[str]]:
    for _ in range(MAX_PROPOSALS):
        words = workspace.next_command()
        if not words or words[0] in OPTIONAL_COMMANDS:
            return
        yield words
    raise AssertionError(f"still something to do: {words}")


def _fill_in(value: Any, home: Path) -> Any:
    return value.format(home=home) if isinstance(value, str) else value


def write_inputs(folder: Path) -> None:
    """Write the files that the commands read.

    They are people, passages, images of a single colour, a truncated image, and the files of a
    declared task and of its rows, first as the user writes them and then with changes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = _people_files() | _passage_files() | _task_files() | _table_files()
    for name, lines in texts.items():
        (folder / name).write_text("".join(lines), encoding="utf-8")

    for colour in ("navy", "lime", "red", "gold", "teal", "pink"):
        Image.new("RGB", (24, 16), colour).save(folder / f"{colour}.png")
    (folder / "cut.png").write_bytes((folder / "teal.png").read_bytes()[:40])


def _people_files() -> dict[str, list[str]]:
    rows = [
        f"person-{number},Given{number},Name{number},Keeper of {trade},House of {trade},"
        f"My work is {trade} and water.\n"
        for number, trade in enumerate(TRADES)
    ]
    new_person = {"Username": "new", "First Name": "New", "Bio": "I mend clocks and bells."}
    return {
        "people.csv": [HEADER, *rows[:7], "silent,No,Bio,Baker,,\n"],
        "many.csv": [
            HEADER,
            *(
                f"u-{number},A,B,,,My work is bees and water law {number}.\n"
                for number in range(20)
            ),
        ],
        "more.csv": [HEADER, rows[1].replace("Keeper", "Friend"), *rows[7:], ",Nobody,,,,\n"],
        "later.csv": [HEADER, "late,Late,Comer,Keeper of doors,,My work is doors and water.\n"],
        "worse.csv": [HEADER, *(f"person-{number},,,,,Nothing to tell.\n" for number in range(7))],
        "new.json": [json.dumps(new_person)],
    }


def _passage_files() -> dict[str, list[str]]:
    passages = [
        {
            "id": f"p-{number}",
            "text": (
                f"We study {trade} in wet cellars. "
                f"\U0001f41d Old {trade} keep longer than new {trade}."
            ),
        }
        for number, trade in enumerate(TRADES[:5])
    ]
    return {"passages.jsonl": [f"{json.dumps(passage)}\n" for passage in passages]}


def _table_files() -> dict[str, list[str]]:
    """Return the lines of a task with a table of the database, and of files with its rows."""
    columns = "{'name': str, 'text': str, 'length_m': float}"
    items = f"items=DatabaseTable('boats', columns={columns})"
    task_lines = [
        "from pydantic import BaseModel\n\nfrom askrows import DatabaseTable, Task\n\n\n",
        "class Answer(BaseModel):\n    use: str\n\n\n",
        f"task = Task(answer=Answer, {items}, key='name', prompt='{{text}}',\n",
        "    write_to='boats.use=use')\n",
    ]
    header = "name,text,length_m\n"
    boats = [f"b-{number},A boat for {trade}.,{number}.5\n" for number, trade in enumerate(TRADES)]
    return {
        "boats.py": task_lines,
        "boats.csv": [header, *boats[:5], ",No name.,1\n"],
        "more-boats.csv": [header, boats[1].replace("boat", "ship"), *boats[5:8]],
        "boat.json": [json.dumps({"name": "b-x", "text": "A raft for wine."})],
    }


def _task_files() -> dict[str, list[str]]:
    header = "id,product,text\n"
    blank_row = "blank,,\n"
    reviews = [
        f"r-{number},{trade},Old {trade} keep longer than new {trade}. I praise the {trade}.\n"
        for number, trade in enumerate(TRADES)
    ]
    changed_review = reviews[1].replace("I praise", "But I blame")
    # Several rows have the text of the same review.
    review_indexes = (0, 1, 0, 1, 2, 0, 2, 3, 3, 1)
    equal_rows = [
        f"r-{number},{reviews[review_index].partition(',')[2]}"
        for number, review_index in enumerate(review_indexes)
    ]
    return {
        "own.csv": [header, *reviews[:6], blank_row],
        "own-changed.csv": [header, changed_review, *reviews[2:9], blank_row],
        "own-equal.csv": [header, *equal_rows[:5]],
        "own-equal-later.csv": [header, *equal_rows],
        "own.py": [write_task_file()],
        "closed.py": [write_closed_task_file()],
        "own-indexed.py": [write_task_file('index="{text} {tags}"')],
        "own-raised.py": [write_task_file(version=2, stars="int | None = None")],
    }


def write_task_file(*extra_arguments: str, version: int = 1, **extra_fields: str) -> str:
    """Return the text of the file of the task `reviews`."""
    field_types = {
        "verdict": 'Literal["praise", "blame"]',
        "quote": "Quote",
        "tags": "list[str]",
        **extra_fields,
    }
    arguments = (f"version={version}", 'label="{id}"', *extra_arguments)
    return write_declaration(
        field_types, prompt="{product}: {text}", items="reviews.csv", extra_arguments=arguments
    )


def write_closed_task_file() -> str:
    """Return the text of the file of a task `reviews` whose fields are closed."""
    field_types = {"verdict": 'Literal["praise", "blame"]', "is_old": "bool"}
    return write_declaration(
        field_types,
        prompt="{product}: {text}",
        items="reviews.csv",
    )
