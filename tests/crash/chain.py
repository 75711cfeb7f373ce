"""What is swept: a user's days, command by command. A new command is one more line here."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.lab import DATABASE

DONE = (0,)
DONE_BEFORE = (0, 2)  # who was run again after having done it says that there is nothing to do it to
REFUSED_BUILD = (6,)


@dataclass(frozen=True)
class Command:
    """One command of a day: its words, the exit codes it may end with when run again, how the engine behaves.

    In peace it ends with the first of the codes.
    """

    words: tuple[str, ...]
    again: tuple[int, ...] = DONE
    engine: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return what people call it."""
        return " ".join(word for word in self.words if "{" not in word)


def line(*words: str, again: tuple[int, ...] = DONE, **engine: Any) -> Command:
    """Return a command from its words; `{inputs}` and `{here}` are folders; `engine` is how the engine behaves."""
    return Command(words, again, engine)


@dataclass(frozen=True)
class Day:
    """Some commands in their order, after which everything `status` asks for is done. It begins where `after` ended.

    An engine of the gemini backend has the `faults`, as its control paths take them, from the start.
    """

    name: str
    commands: tuple[Command, ...]
    after: str = ""
    backend: str = "gemini"
    faults: tuple[Mapping[str, Any], ...] = ()
    unmakes: bool = False  # the index is taken away on purpose, file by file
    same: tuple[str, ...] = ()  # which parts of the end must be the same, where not all of them
    files: Mapping[str, str] = field(default_factory=dict)  # put below the folder first: path, which of the inputs
    settings: Mapping[str, str] = field(default_factory=dict)
    databases: tuple[str, ...] = ("sqlite", "postgresql")


OF_PEOPLE = ("people", "parked", "open", "due", "index")
ASKED_ONCE = (*OF_PEOPLE, "answers", "attempts", "batches", "creates", "asked", "files")


def never(word: str, item: int, **args: Any) -> Mapping[str, Any]:
    """Return the fault that strikes whatever is asked about one item."""
    return {"fault": word, "match": {"key": f"expert-tags/{item}$"}, "nth": 1, "times": 10_000, "args": args}


NO_QUOTE: Mapping[str, Any] = {
    "fault": "answer_text",
    "match": {"key": "passage-concepts/p-3$"},
    "nth": 1,
    "times": 10_000,
    "args": {
        "text": '{"concepts": [{"name": "a", "type": "task", "aliases": [], "confidence": 1, "quotes": ["not there"]}]}'
    },
}
"""What is answered about one passage has no quotation that is in it, so that it is asked again, and parked."""

# of a few passages one that never gets an answer is more than any gate allows
PASSAGES = {"TASK": "passages", "GATES": "coverage=off,parse-failure=off,concepts=off"}
OWN = {"TASK": "reviews"}
OF_OWN = ("tasks", "fingerprints", "items", "projection", "view")
OWN_ASKED_ONCE = (*OF_OWN, "open", "parked", "answers", "asked", "written")
IMAGES = {"TASK": "images"}
OF_IMAGES = ("tasks", "fingerprints", "assets", "asset_ai", "images", "descriptions", "described")
HOPELESS, REFUSED, NO_LINE = never("error_line", 9, code=3), never("error_line", 10, code=13), never("missing_line", 11)

DAYS = (
    Day(
        "first",
        (
            line("import", "{inputs}/people.csv"),
            line("batch-submit"),
            line("batch-poll"),
            line("batch-ingest"),
            line("index"),
            line("search", "water"),
        ),
    ),
    Day(
        "second",
        (
            line("import", "{inputs}/more.csv", "--report", "{here}/data/rejected.csv"),
            line("batch-submit"),
            line("batch-poll"),
            line("batch-ingest"),
            line("index"),
            line("score"),
            line("export", "{here}/data/out.csv"),
        ),
        after="first",
        faults=(HOPELESS, REFUSED, NO_LINE),
    ),
    Day(
        "third",
        (
            line("unpark", "--all", "--yes", again=DONE_BEFORE),
            line("batch-submit", paused=True),
            line("batch-cancel", "5", again=DONE_BEFORE, paused=True),
            line("batch-poll", paused=True),
            line("batch-ingest"),
            line("index", "--rollback", again=DONE_BEFORE),
            line("index"),
            line("doctor", "--fix"),
        ),
        after="second",
        faults=(HOPELESS,),
    ),
    Day(
        "keeping",
        (
            line("forget", "person-2", "--yes", again=DONE_BEFORE),
            line("clean"),
            line("backup", "{here}/data-copy", again=DONE_BEFORE),
        ),
        after="second",
        settings={"KEEP_DAYS": "0"},
        databases=("sqlite",),
    ),
    # who lost their answers stands in no list of what changed: then the index is held against all people
    Day(
        "taken-back",
        (
            line("rollback", "expert-tags@2", "--yes", again=DONE_BEFORE),
            line("batch-submit"),
            line("batch-poll"),
            line("batch-ingest"),
            line("index"),
        ),
        after="first",
    ),
    Day(
        "merged",
        (
            line("tags", "--merge", "water=hydrology; law=water law", "--who", "ada"),
            line("tags", "--person", "person-1", "--add", "by hand", "--who", "ada"),
            line("tags", "--undo", "1", "--who", "bob", again=DONE_BEFORE),
            line("tags", "--person", "person-1", "--undo", "1", "--who", "bob"),
            line("index"),
        ),
        after="first",
    ),
    # the words of all are taken away, so that the build does worse on the judged questions, and is refused
    Day(
        "judged",
        (
            line("lab-import", "--queries", "{inputs}/queries.jsonl", "--qrels", "{inputs}/qrels.tsv"),
            line("lab-run", "--variants", "hybrid"),
            line("import", "{inputs}/worse.csv"),
            line("index", again=REFUSED_BUILD),
            line("index", "--worse-ok"),
            line("index", "--rollback", again=DONE_BEFORE),
            line("index", "--worse-ok"),
        ),
        after="first",
    ),
    # who dies here is saved without tags and goes out with a batch, so where the tags came from may differ
    Day(
        "added",
        (line("add-expert", "{inputs}/new.json", again=DONE_BEFORE), line("index")),
        after="first",
        same=OF_PEOPLE,
    ),
    # who was being asked when it died is asked again, so there are more claims that are closed, and marks
    Day(
        "pilot",
        (
            line("import", "{inputs}/people.csv"),
            line("batch-submit", "--pilot", "5"),
            line("batch-poll"),
            line("batch-ingest"),
            line("index"),
        ),
        same=(*ASKED_ONCE, "pilots"),
    ),
    Day(
        "live",
        (line("import", "{inputs}/more.csv"), line("tag-live"), line("index")),
        after="first",
        same=ASKED_ONCE,
    ),
    Day(
        "due",
        (
            line("add-expert", "{inputs}/new.json", again=DONE_BEFORE),
            line("batch-submit"),
            line("batch-poll"),
            line("batch-ingest"),
            line("index"),
        ),
        after="first",
        faults=({"fault": "status", "match": {"path": ":generateContent"}, "times": 10_000, "args": {"code": 503}},),
        same=(*OF_PEOPLE, "answers"),
    ),
    Day(
        "local",
        (
            line("import", "{inputs}/people.csv"),
            line("batch-submit"),
            line("batch-poll"),
            line("batch-ingest"),
            line("index"),
            line("search", "water"),
        ),
        backend="local",
    ),
    Day(
        "local-added",
        (line("add-expert", "{inputs}/new.json", again=DONE_BEFORE), line("index")),
        after="local",
        backend="local",
        same=OF_PEOPLE,
    ),
    Day(
        "local-live",
        (line("import", "{inputs}/more.csv"), line("tag-live"), line("index")),
        after="local",
        backend="local",
        same=ASKED_ONCE,
    ),
    # a pilot that died once it was judged is another one when it is run again, and there are more reports
    Day(
        "passages",
        (
            line("import-passages", "{inputs}/passages.jsonl"),
            line("passages-pilot", "--n", "2", "--seed", "2"),  # draws none of those without an answer
            line("passages-backfill", "--wait", "--yes"),
            line("qc"),
        ),
        faults=(NO_QUOTE,),
        settings=PASSAGES,
    ),
    Day(
        "passages-anew",
        (line("passages-backfill", "--no-resume", "--skip-pilot", "--wait", "--yes"),),
        after="passages",
        faults=(NO_QUOTE,),
        settings={**PASSAGES, "VERSION": "anew@1", "BATCH_ROWS": "5"},
    ),
    Day(
        "passages-back",
        (line("rollback", "anew@1", "--yes"), line("passages-backfill", "--wait", "--yes")),
        faults=(NO_QUOTE,),
        after="passages-anew",
        settings=PASSAGES,
    ),
    Day(
        "local-passages",
        (
            line("import-passages", "{inputs}/passages.jsonl"),
            line("passages-pilot", "--n", "2", "--seed", "2"),  # draws none of those without an answer
            line("passages-backfill", "--wait", "--yes"),
        ),
        backend="local",
        settings=PASSAGES,
    ),
    # the file that declares the task and the one with its rows are as they are when a day begins
    Day(
        "own",
        (
            line("preflight"),
            line("try", "--n", "2"),
            line("batch-submit"),
            line("batch-poll"),
            line("batch-ingest"),
            line("export", "{here}/data/out.csv"),
        ),
        settings=OWN,
        files={"tasks/reviews.py": "own.py", "tasks/reviews.csv": "own.csv"},
    ),
    Day(
        "own-changed",
        (
            line("batch-submit"),
            line("batch-poll"),
            line("batch-ingest"),
            line("export", "{here}/data/out.csv"),
        ),
        after="own",
        settings={**OWN, "REFRESH": "1"},
        files={"tasks/reviews.csv": "own-changed.csv"},
    ),
    Day(
        "own-raised",
        (
            line("batch-submit"),
            line("batch-poll"),
            line("batch-ingest"),
            line("export", "{here}/data/out.csv"),
            line("rollback", "reviews@1", "--yes", again=DONE_BEFORE),
            line("doctor", "--fix"),
        ),
        after="own-changed",
        settings=OWN,
        files={"tasks/reviews.py": "own-raised.py"},
    ),
    # what becomes of an index in a folder of its own; the rows that changed are asked about again
    Day(
        "own-indexed",
        (
            line("index"),
            line("search", "water"),
            line("batch-submit"),
            line("batch-poll"),
            line("batch-ingest"),
            line("index"),
            line("forget", "--item", "r-2", "--yes", again=DONE_BEFORE),
        ),
        after="own",
        settings={**OWN, "REFRESH": "1"},
        files={"tasks/reviews.py": "own-indexed.py", "tasks/reviews.csv": "own-changed.csv"},
    ),
    Day(
        "own-live",
        (line("try", "--item", "r-3"), line("tag-live"), line("export", "{here}/data/out.csv")),
        settings=OWN,
        same=OWN_ASKED_ONCE,
        files={"tasks/reviews.py": "own.py", "tasks/reviews.csv": "own.csv"},
    ),
    Day(
        "own-live-changed",
        (line("tag-live"), line("try", "--seed", "7"), line("export", "{here}/data/out.csv")),
        after="own-live",
        settings={**OWN, "REFRESH": "1"},
        same=OWN_ASKED_ONCE,
        files={"tasks/reviews.csv": "own-changed.csv"},
    ),
    # equal images are asked about once, and what cannot be opened is not
    Day(
        "images",
        (
            line("import-images", "{here}/photos"),
            line("batch-submit"),
            line("batch-poll"),
            line("batch-ingest"),
            line("export", "{here}/data/out.csv"),
        ),
        settings=IMAGES,
        files={f"photos/{name}": f"{name}" for name in ("navy.png", "lime.png", "red.png", "cut.png")}
        | {"photos/again.png": "navy.png"},
    ),
    # one image changed, one can be opened now, one is new, and one of two that are equal is forgotten
    Day(
        "images-changed",
        (
            line("import-images", "{here}/photos"),
            line("batch-submit"),
            line("batch-poll"),
            line("batch-ingest"),
            line("index"),
            line("forget", "--item", "1", "--yes", again=DONE_BEFORE),
        ),
        after="images",
        settings=IMAGES,
        files={"photos/red.png": "gold.png", "photos/cut.png": "teal.png", "photos/new.png": "pink.png"},
    ),
    Day(
        "images-live",
        (
            line("import-images", "{here}/photos"),
            line("tag-live"),
            line("export", "{here}/data/out.csv"),
            line("index"),
        ),
        settings=IMAGES,
        same=(*OF_IMAGES, "open", "parked", "answers", "asked", "written", "index"),
        files={f"photos/{name}": f"{name}" for name in ("navy.png", "lime.png", "cut.png")}
        | {"photos/again.png": "navy.png"},
    ),
    Day("rebind", (line("rebind", "--yes"),), after="local", backend="local", unmakes=True),
)
SAMPLED = ("first", "second")  # days of `make test`; tasks of one's own and images die in tests of their own
EVERY = os.environ.get("FAULTS") == "all"
DAY_OF = {day.name: day for day in DAYS if DATABASE in day.databases and (EVERY or day.name in SAMPLED)}
