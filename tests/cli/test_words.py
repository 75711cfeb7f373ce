"""The words that people type stay: targets, commands, options and settings; and the help of every day stays short."""

import re
import subprocess

import click

from jobs.cli import main
from jobs.commands import COMMANDS, command_of, variables_of
from pipeline.core.settings import Settings
from tests.lab import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
EVERYDAY = 15

COMMAND_WORDS = {  # of each command what it takes, as options and as make has it; what each takes is left out
    "demo": "",
    "new-task": "NAME FROM JSON --from --json",
    "try": "N ITEM SEED YES JSON --n --item --seed --yes --json",
    "import": "EXPERTS STRICT REPORT JSON --strict --report --json",
    "import-passages": "PASSAGES STRICT REPORT JSON --strict --report --json",
    "passages-pilot": "N SEED NO_RESUME YES JSON --n --seed --no-resume --yes --json",
    "passages-backfill": "NO_RESUME SKIP_PILOT WAIT YES JSON --no-resume --skip-pilot --wait --no-wait --yes --json",
    "passages-status": "WATCH JSON --watch --json",
    "preflight": "LIMIT DEADLINE JSON --limit --deadline --json",
    "tag": "MODE LIMIT BUDGET DEADLINE WAIT YES JSON --mode --limit --budget --deadline --wait --no-wait --yes --json",
    "tag-live": "LIMIT JSON --limit --json",
    "run": "ON_DONE ON_FAIL YES JSON --on-done --on-fail --yes --json",
    "batch-submit": "LIMIT DRY YES JSON --limit --dry --yes --json",
    "batch-poll": "WAIT JSON --wait --no-wait --json",
    "batch-ingest": "JSON --json",
    "batches": "JSON --json",
    "costs": "BY JSON --by --json",
    "batch-cancel": "BATCH YES JSON --yes --json",
    "score": "JSON --json",
    "index": "ROLLBACK JSON --rollback --json",
    "search": "Q K RANK TAG MIN_SCORE WHERE LIKE WHY QUESTIONS JSON -k --rank --tag --min-score --where --like --why "
    "--questions --json",
    "add-expert": "EXPERT JSON --json",
    "show": "EXPERT ITEM RAW JSON --item --raw --json",
    "compare": "A B N SEED TO YES JSON --n --seed --to --yes --json",
    "log": "N ALL JSON -n --n --all --json",
    "export": "TO FORMAT BEST EXTRACTOR JSON --format --best --extractor --json",
    "status": "WATCH JSON --watch --json",
    "qc": "EXTRACTOR JSON --extractor --json",
    "parked": "JSON --json",
    "unpark": "EXPERT PASSAGE ALL YES JSON --all --yes --json",
    "versions": "JSON --json",
    "rollback": "EXTRACTOR YES JSON --yes --json",
    "best-concepts": "PASSAGE JSON --json",
    "doctor": "FIX YES JSON --fix --yes --json",
    "forget": "EXPERT YES JSON --yes --json",
    "backup": "TO JSON --json",
    "restore": "FROM JSON --json",
    "move": "TO JSON --json",
    "clean": "DRY JSON --dry --json",
    "eval": "QUERIES QRELS JSON --json",
    "web": "PORT READONLY NO_OPEN HOST NAMES PROXY_HEADER PROXY_FROM --port --readonly --no-open --host --names "
    "--proxy-header --proxy-from",
    "emulator": "PORT RPM TPM RPD --port --host --rpm --tpm --rpd",
    "rebind": "GIVE_UP YES JSON --give-up --yes --json",
    "prices": "JSON --json",
    "settings": "ALL JSON --all --json",
}
NO_TARGETS = {"rebind"}
NO_COMMANDS = {
    *("help", "setup", "check", "docs", "format", "test", "test-full", "keeping-sweep", "crash-sweep", "two-at-once"),
    *("four-workers", "fault-matrix", "fuzz", "audit", "soak", "bench", "bench-backfill"),
}
MAKE_WORDS = """
EXPERTS EXPERT LIMIT MODE BUDGET DEADLINE ON_DONE ON_FAIL DRY WAIT BATCH ROLLBACK Q K TO FROM STRICT REPORT
JSON YES QUERIES QRELS PORT FIX ALL DEBUG DATA BACKEND DATABASE_URL PG_BIN MODEL EMBEDDING_MODEL DIM MODELS_FILE TIER
RPM TPM RPD API_VERSION BATCH_ROWS BATCH_BYTES BATCH_TOKENS CONFIRM_ABOVE BUDGET_PER_DAY CONCURRENCY CREATE_TIMEOUT
LIST_LAG CALL_TIMEOUT TRANSFER_TIMEOUT RETRY_FOR RETRY_WAIT POLL_FIRST POLL_MOST POLL_PATIENCE BATCH_HOURS UPLOAD_HOURS
LEASE KEEP_DAYS MIME_TYPES TASK VERSION SKIP_VERSIONS PASSAGES_TABLE PREFER_VERSIONS MIN_CONFIDENCE GATES PASSAGES
PASSAGE EXTRACTOR N SKIP_PILOT NO_RESUME BEST SECONDS KEEP MINUTES SEED ROUNDS WORKERS MOST KILLS BY WATCH NAME ITEM
RAW A B
"""
SETTINGS = """
DATA BACKEND DATABASE_URL PG_BIN MODEL EMBEDDING_MODEL DIM MODELS_FILE TIER RPM TPM RPD API_VERSION BATCH_ROWS
BATCH_BYTES BATCH_TOKENS CONFIRM_ABOVE BUDGET_PER_DAY CONCURRENCY CREATE_TIMEOUT LIST_LAG CALL_TIMEOUT TRANSFER_TIMEOUT
EMBED_CALLS RETRY_FOR RETRY_WAIT POLL_FIRST POLL_MOST POLL_PATIENCE BATCH_HOURS UPLOAD_HOURS LEASE KEEP_DAYS MIME_TYPES
TASK VERSION SKIP_VERSIONS PASSAGES_TABLE PREFER_VERSIONS MIN_CONFIDENCE GATES DEBUG
"""


def listed(*words: str) -> list[str]:
    """Return the targets that `make help` or a like one lists."""
    done = subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return re.findall(r"^  ([a-z-]+) +\S", done.stdout, re.MULTILINE)


def taken(command: click.Command) -> set[str]:
    """Return the words that a command takes: its options, and the names of their variables as make has them."""
    found = set()
    for parameter in command.params:
        found |= {*parameter.opts, *parameter.secondary_opts}
        named = parameter.envvar or []
        found |= {name.removeprefix("FINDABLE_") for name in ([named] if isinstance(named, str) else named)}
    return found


def handed_on() -> set[str]:
    """Return the variables that make hands on."""
    found = re.search(r"^VALUES := ((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE)
    assert found is not None
    return set(found[1].split())


def test_help_lists_fifteen_targets_and_the_rest_on_request() -> None:
    """What people use every day is fifteen targets; those with `ALL=1` and of developers are all there are."""
    everyday, everyones, developers = listed("help"), listed("help", "ALL=1"), listed("help-dev")
    assert len(everyday) == EVERYDAY
    assert set(everyday) < set(everyones)
    assert not set(everyones) & set(developers)
    assert {*everyones, *developers} == set(re.findall(r"^\.PHONY: (.*)", MAKEFILE, re.MULTILINE))


def test_every_word_of_a_command_stays() -> None:
    """Each command and each of its options, named as ever, in make as well."""
    context = click.Context(main)
    for name, words in COMMAND_WORDS.items():
        command = main.get_command(context, name)
        assert command is not None, name
        assert command.name == name
        assert not {*words.split(), "DEBUG", "--debug"} - taken(command), name


def test_every_target_stays() -> None:
    """Each command is a target that runs it, and the targets that are no commands are there, too."""
    targets = {*COMMAND_WORDS, *NO_COMMANDS} - NO_TARGETS
    assert not targets - set(re.findall(r"^\.PHONY: (.*)", MAKEFILE, re.MULTILINE))
    runs = dict(re.findall(r"^([a-z-]+):.*\n\t@\$\(RUN\) (\S+)$", MAKEFILE, re.MULTILINE))
    assert runs == {name: name for name in COMMANDS if name not in NO_TARGETS}


def test_every_setting_stays() -> None:
    """Each setting, and each variable that make hands on."""
    assert not {name.lower() for name in SETTINGS.split()} - set(Settings.__dataclass_fields__)
    assert not set(MAKE_WORDS.split()) - handed_on()


def test_make_hands_on_all_that_commands_and_settings_take() -> None:
    """What a command or a setting takes has an effect on make's command line; a password may not stand there."""
    words = {name.upper() for name, one in Settings.__dataclass_fields__.items() if "help" in one.metadata}
    for name in COMMANDS:
        words |= set() if name in NO_TARGETS else set(variables_of(command_of(name)))
    assert words - handed_on() == {"WEB_PASSWORD"}
