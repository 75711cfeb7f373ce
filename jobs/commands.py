"""The table of commands: what each is, how its workspace is opened, and whether a page may carry it out.

The parameters of a command's function are its options. From them come the command of `findable`, the target and the
variables of make (their names in capitals), the page's form and `POST /api/<command>`, and docs/commands.md. A module
of `jobs` is imported only when a command of it is used.
"""

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import click


@dataclass(frozen=True)
class Command:
    """One command.

    `where` is the module of `jobs` and the function; `takes` are the options that stand without their name too. What
    `opens` a workspace is read, write (where a database is), create, or bring (write for a task whose rows come with
    it, else read); empty, the function does it, and gets none. `dry` is that with `--dry`, and with one of `writes` it
    is write. `task` is the one that it is about, whatever TASK says; with `task_if` only where that option is given.
    `names` are those of options under another name, `fixed` what an alias says.
    """

    where: str
    summary: str
    takes: tuple[str, ...] = ()
    opens: str = ""
    dry: str = ""
    writes: tuple[str, ...] = ()
    task: str | None = None
    task_if: str = ""
    whole: bool = False  # it is about the whole workspace, also where TASK was never used in it
    # Without TASK, it is about several tasks if there are no people.
    of_several: bool = False
    such: str = ""  # what may stand behind it after make
    json: bool = True
    api: str = (
        ""  # what a page does with it: begin it, or look, which answers a GET with its document
    )
    private: tuple[str, ...] = ()  # options that a page has not: files of this machine
    names: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def function(self) -> Callable[..., Any]:
        """Return the function, whose module is imported."""
        module, _, name = self.where.partition(":")
        found: Callable[..., Any] = getattr(importlib.import_module(f"jobs.{module}"), name)
        return found

    @cached_property
    def params(self) -> "list[click.Parameter]":
        """Return what it takes."""
        from jobs.options import params_of

        return params_of(self.function, self.takes, dict(self.names), self.fixed)

    @property
    def variables(self) -> "dict[str, click.Parameter]":
        """Return what it takes by the variables of make."""
        return {str(one.envvar).removeprefix("FINDABLE_"): one for one in self.params}


COMMANDS = {  # sorted by use: what a day needs, the other steps of a batch, and the rest
    "import": Command(
        "import_commands:import_rows",
        "Bring in people, passages or images.",
        ("experts",),
        such="EXPERTS=people.csv",
    ),
    "new-task": Command(
        "import_commands:new_task",
        "Write the file of a task of your own.",
        ("name",),
        such="NAME=reviews FROM=reviews.csv",
    ),
    "ask": Command(
        "import_commands:ask",
        "Ask about five rows of a table, and price all.",
        ("from",),
        such='FROM=reviews.csv Q="Praise?"',
    ),
    "try": Command(
        *(
            "inspect_commands:try_",
            "Ask about a few rows; show what goes out and comes back.",
            (),
            "write",
        ),
        private=("a", "b"),
        api="begin",
    ),
    "tag": Command(
        *(
            "batch_commands:tag",
            "Ask about all that are open, by batch or live.",
            (),
            "write",
            "bring",
        ),
        such="TASK=reviews LIMIT=50 DRY=1",
        api="begin",
        fixed={"backfill": False, "no_resume": False},
    ),
    "status": Command(
        *(
            "row_commands:status",
            "Show where everything stands, and what to type next.",
            (),
            "read",
        ),
        of_several=True,
        api="look",
    ),
    "index": Command(
        "search_commands:index",
        "Embed what changed, build, verify, put in service.",
        opens="write",
        api="begin",
    ),
    "search": Command(
        *("search_commands:search", "Find what fits a question best.", ("q",), "read"),
        such='Q="who knows water law"',
        api="look",
    ),
    "show": Command(
        *(
            "inspect_commands:show",
            "Show all about one, or the newest requests.",
            ("expert",),
            "read",
        ),
        task="experts",
        task_if="expert",
        such="EXPERT=username",
        api="look",
        private=("expert",),
    ),
    "export": Command(
        "row_commands:export",
        "Write rows and answers to a file.",
        ("to",),
        "read",
        such="TO=tagged.csv",
    ),
    "web": Command("server_commands:web", "Serve the page: see, search, add, correct.", json=False),
    "doctor": Command(
        "maintenance_commands:doctor",
        "Check what is stored; say what mends it.",
        opens="read",
        whole=True,
        api="begin",
    ),
    "batch-submit": Command(
        "batch_commands:batch_submit",
        "Submit batches for all that are open.",
        (),
        "write",
        "look",
        such="LIMIT=50",
        api="begin",
    ),
    "batch-poll": Command(
        "batch_commands:batch_poll",
        "Wait for batches, download results.",
        opens="write",
        api="begin",
    ),
    "batch-ingest": Command(
        "batch_commands:batch_ingest",
        "Judge results, write the answers.",
        opens="write",
        api="begin",
    ),
    "add-expert": Command(
        "import_commands:add_expert",
        "Add one person, tagged at once.",
        ("expert",),
        such="EXPERT=new.json",
    ),
    "demo": Command(
        "demo:demo", "Run the whole chain on invented data, on the local engine.", json=False
    ),
    "verify-gemini": Command(
        "maintenance_commands:verify_gemini",
        "Meet the API with five rows, and report what it does.",
        opens="create",
        whole=True,
    ),
    "work": Command(
        "maintenance_commands:work",
        "Do whatever is due, for all tasks; with ONCE=1 once, for cron.",
        such="ONCE=1",
    ),
    "worker": Command(
        "maintenance_commands:worker", "Do what is due beside other workers; on PostgreSQL."
    ),
    "items": Command(
        *(
            "row_commands:items",
            "List rows, or count them; filter, sort, write them.",
            ("find",),
            "read",
        ),
        private=("to", "overwrite"),
        api="look",
    ),
    "tags": Command(
        *(
            "row_commands:tags",
            "List the tags of people; merge them, or edit those of one.",
            (),
            "read",
        ),
        writes=("merge", "undo", "add", "remove"),
        task="experts",
        api="begin",
    ),
    "correct": Command(
        *(
            "row_commands:correct",
            "Correct the answer about one row by hand, or undo that.",
            ("item",),
            "read",
        ),
        writes=("set_", "undo"),
        such='TASK=reviews ITEM=7 SET="tone=praise; stars=4"',
        api="begin",
    ),
    "parked": Command(
        "maintenance_commands:parked",
        "List those that failed for good, and why.",
        opens="read",
        api="look",
    ),
    "batches": Command(
        "batch_commands:batches",
        "List batches and live runs.",
        opens="read",
        whole=True,
        api="look",
    ),
    "batch-cancel": Command(
        "batch_commands:batch_cancel",
        "Cancel a batch, or give it up.",
        ("batch",),
        "write",
        whole=True,
        api="begin",
    ),
    "costs": Command(
        "batch_commands:costs", "Add up what was spent.", opens="read", of_several=True, api="look"
    ),
    "qc": Command(
        "maintenance_commands:qc",
        "Measure the answers, and write the report.",
        opens="read",
        api="begin",
    ),
    "versions": Command(
        "maintenance_commands:versions",
        "List every version of answers.",
        opens="read",
        of_several=True,
        api="look",
    ),
    "rollback": Command(
        "maintenance_commands:rollback", "Take back the answers of one version.", ("extractor",)
    ),
    "eval": Command(
        "search_commands:measure",
        "Measure the search with judged questions.",
        ("queries", "qrels"),
        "read",
    ),
    "forget": Command(
        "maintenance_commands:forget",
        "Remove people or rows everywhere.",
        ("expert",),
        "write",
        task="experts",
        task_if="expert",
    ),
    "backup": Command(
        "maintenance_commands:backup", "Copy the whole workspace.", ("to",), "read", whole=True
    ),
    "restore": Command(
        "maintenance_commands:restore",
        "Put a backup into a new folder, or into PostgreSQL.",
        ("from",),
    ),
    "clean": Command(
        "maintenance_commands:clean",
        "Remove old files and builds that nothing needs.",
        (),
        "write",
        "read",
        whole=True,
        api="begin",
    ),
    "remove-tables": Command(
        "maintenance_commands:remove_tables",
        "Remove our tables from a database.",
        opens="read",
        whole=True,
    ),
    "emulator": Command(
        "server_commands:emulator", "Serve Gemini's protocol from the local engine.", json=False
    ),
    "prices": Command("settings_commands:prices", "List prices and limits of the models."),
    "settings": Command(
        "settings_commands:settings", "List settings, their values, and where from."
    ),
}
DAILY = list(COMMANDS)[:12]
STEPS = ("batch-submit", "batch-poll", "batch-ingest", "index", "add-expert")

NO_FILE = {"experts": None, "map_": "", "strict": False, "report": None, "dry": False, "sheet": ""}
NO_FILE |= {"encoding": "", "header": ""}
ALIASES = {  # other names for what the commands above do, which no help lists
    "import-images": replace(
        COMMANDS["import"],
        takes=("folder",),
        task="images",
        names={"from_": "folder"},
        fixed=NO_FILE,
    ),
    "import-passages": replace(
        COMMANDS["import"],
        takes=("passages",),
        task="passages",
        names={"from_": "passages"},
        fixed={"experts": None},
    ),
    "preflight": replace(
        COMMANDS["tag"], opens="bring", fixed={**COMMANDS["tag"].fixed, "dry": True}, api=""
    ),
    "tag-live": replace(COMMANDS["tag"], fixed={**COMMANDS["tag"].fixed, "mode": "live"}, api=""),
    "passages-pilot": Command(
        "batch_commands:passages_pilot",
        "Ask about a few passages, and judge them.",
        opens="write",
        task="passages",
        api="begin",
    ),
    "passages-backfill": replace(COMMANDS["tag"], task="passages", fixed={"backfill": True}),
    "passages-status": replace(COMMANDS["status"], task="passages", api=""),
    "people": replace(COMMANDS["items"], task="experts", api=""),
    "log": replace(COMMANDS["show"], takes=(), task=None, fixed={"expert": None, "item": None}),
    "run": Command("maintenance_commands:work", "Do once whatever is due.", fixed={"once": True}),
    "unpark": Command(
        "maintenance_commands:unpark",
        "Let parked ones be asked again.",
        ("expert",),
        "write",
        api="begin",
    ),
    "score": Command("row_commands:score", "Compute anew what follows from rows.", opens="write"),
}
EVERY = {**COMMANDS, **ALIASES}


def targets(*, everything: bool) -> str:
    """Return what `make help` lists: what a day needs, and the steps of a batch one by one, or everything."""

    def listed(names: Iterable[str]) -> list[str]:
        return [
            f"  {name:<13} {COMMANDS[name].summary} {COMMANDS[name].such}".rstrip()
            for name in names
        ]

    if everything:
        return "\n".join(
            [*listed(COMMANDS), "  setup         Make .venv, as the first of these does by itself."]
        )
    more = "make help ALL=1 lists all, make tag HELP=1 what one takes, make help-dev what developers of findable use"
    return "\n".join([*listed(DAILY), "step by step, with batches:", *listed(STEPS), "", more])


if __name__ == "__main__":
    print(targets(everything="all" in sys.argv))  # noqa: T201 - without the environment that setup makes
