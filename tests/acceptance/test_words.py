"""Test typed input: mistyped words are refused with a suggestion, and next steps can be typed."""

import json
import os
import re
import shlex
import signal
import subprocess
from typing import Any

import pytest

from tests.acceptance.process import PRODUCT, PYTHON
from tests.acceptance.product import HEADER, KEY, ON_POSTGRESQL, Workspace

PLAIN_ENVIRON = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("ASKROWS_", "MAKE", "MFLAGS", "GEMINI_", "GOOGLE_"))
}


def run_make(workspace: Workspace, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the real make in a workspace."""
    return subprocess.run(
        ["make", "-s", *words],
        cwd=PRODUCT,
        env=PLAIN_ENVIRON | {"ASKROWS_DATA": str(workspace.data)} | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


# An address of a database, in place of a file.
ADDRESS = "postgresql://bob:geheim@example.org/shop"

# Each case: the words, the settings, the exit code, and a part of the message.
INVALID_COMMANDS: tuple[tuple[tuple[str, ...], dict[str, Any], int, str], ...] = (
    (
        ("serach",),
        {},
        2,
        (
            "unknown command 'serach'; did you mean search?\n"
            "next: `askrows --help` lists the commands\n"
        ),
    ),
    (("serve",), {}, 2, "unknown command 'serve'; did you mean web?"),
    (("--nope",), {}, 2, "No such option '--nope'."),
    (("tag", "--limt", "5"), {}, 2, "--limit"),
    (("tag", "--mode", "lvie"), {}, 2, "'lvie' is not one of 'auto', 'batch', 'flex', 'live'"),
    (
        ("tag",),
        {"LIMTI": 5},
        2,
        "unknown variable ASKROWS_LIMTI; did you mean ASKROWS_LIMIT?; nothing was done",
    ),
    (("status",), {"TASK": "passges"}, 3, "there is no task 'passges'"),
    (("status",), {"TASK": "Experts"}, 2, "ASKROWS_TASK is 'Experts' (environment): must be"),
    (("status", "--task=Experts"), {}, 2, "error: --task is 'Experts': must be experts,"),
    (("status", "--task=Experts"), {}, 2, "the path of its file; did you mean 'experts'?"),
    (
        ("status",),
        {"DIM": "many"},
        2,
        "ASKROWS_DIM is 'many' (environment): must be a whole number",
    ),
    (("status",), {"BACKEND": "gemni"}, 2, "must be 'gemini', 'openai', 'server' or 'local'"),
    (("status",), {"BATCH_BYTES": "5 apples"}, 2, "ASKROWS_BATCH_BYTES is '5 apples'"),
    (
        ("status",),
        {"DATABASE_URL": "no url at all"},
        3,
        "ASKROWS_DATABASE_URL is not a database URL",
    ),
    (("status",), {"DATABASE_URL": "mysql://u:geheim@h/d"}, 3, "not mysql"),
    (("clean",), {"KEEP_DAYS": "800000"}, 2, "from 0 to 100,000"),
    (("batch-submit",), {"SKIP_VERSIONS": ","}, 2, "ASKROWS_SKIP_VERSIONS is ','"),
    (
        ("batch-submit",),
        {"MODEL": "gemini-0-nano"},
        3,
        "'gemini-0-nano' is not a known model",
    ),
    # The workspace has a tagged person, so that `index` would embed.
    (("index",), {"EMBEDDING_MODEL": "gemini-0-vectors"}, 3, "gemini-0-vectors"),
    (("index",), {"DIM": "100000"}, 3, "100000"),
    (("tag",), {"LIMIT": "1,00"}, 2, "'1,00' must be a whole number, such as 50, 1,000 or 1k"),
    (("preflight",), {"DEADLINE": "2h30"}, 2, "'2h30'"),
    (("tag",), {"BUDGET": "nan"}, 2, "amount of USD"),
    (("batch-cancel", "9" * 30), {}, 2, "must be from 1 to"),
    (("show", "ad\udcffa"), {}, 2, "not valid UTF-8"),
    (("rollback", "ad\udcffa"), {}, 2, "not valid UTF-8"),
    (("import",), {}, 2, "`askrows import people.csv`"),
    (("batch-cancel",), {}, 2, "With make: BATCH="),
    (("export",), {}, 2, "With make: TO="),
    (
        ("import", "nope.csv"),
        {},
        2,
        "nope.csv does not exist; nothing was imported\nnext: check the path",
    ),
    (("import", ADDRESS), {}, 2, "postgresql:… is an address, not a file; nothing was"),
    (("import", f"--from={ADDRESS}", "--task=passages"), {}, 2, "postgresql:… is an address"),
    (("import", f"--from={ADDRESS}", "--task=images"), {}, 2, "postgresql:… is an address"),
    (("import", "sqlite:///own.db"), {}, 2, "asks about a table of a database"),
    (("import", "https://example.org/people.csv"), {}, 2, "next: download the file"),
    (("add-expert", "nope.json"), {}, 2, "nope.json does not exist; nothing was"),
    (("search",), {}, 2, "there is no question"),
    (("show", "nobody"), {}, 2, "nobody"),
    (("export", "out.doc"), {}, 2, "out.doc"),
    (("export", "y.csv", "--to", "z.csv"), {}, 2, "--to was given twice"),
    (("status", "--watch", "--json"), {}, 2, "--watch"),
)


@pytest.mark.promise("usage")
def test_mistyped_command_is_refused_with_a_hint_and_changes_nothing(workspace: Workspace) -> None:
    """A mistyped command prints a suggestion in at most three lines, or a JSON document."""
    workspace.import_people(1)
    workspace.run_command("tag_live")
    workspace.import_people(1, first=1)
    status = workspace.status()

    for words, settings, code, message in INVALID_COMMANDS:
        invalid_run = workspace.run_command(*words, code=code, **settings)
        error_output = re.sub(r"\s+", " ", invalid_run.stderr)
        assert re.sub(r"\s+", " ", message).strip() in error_output, (words, invalid_run)
        if "--json" not in words:
            assert invalid_run.stdout == "", (words, invalid_run)
            assert invalid_run.stderr.count("\n") in {1, 2, 3}, (words, invalid_run)
            assert "geheim" not in error_output, (words, invalid_run)
        if words[0] in {"--nope", "serach"} or "--json" in words:
            continue

        document = workspace.run_command(*words, code=code, json=True, **settings).json
        assert set(document) == {"error", "hint", "exit_code"}, words
        assert document["exit_code"] == code, words

    workspace.used_tasks -= {"passges", "Experts"}
    assert workspace.status() == status
    assert not (workspace.home / "nope").exists()


@pytest.mark.promise("usage")
def test_invalid_folder_is_refused_and_nothing_is_created(workspace: Workspace) -> None:
    """An unusable or mistyped folder is refused, and nothing is created."""
    people = workspace.write_file("people.csv", f"{HEADER}ada,A,B,,,I keep bees.\n")
    no_server: dict[str, Any] = {"DATABASE_URL": ""} if ON_POSTGRESQL else {}

    for folder in (people, people / "data", "/proc/askrows/data"):
        import_run = workspace.run_command("import", people, DATA=folder, code=3, **no_server)
        assert "cannot be the workspace" in import_run.stderr

    mistyped_folder = workspace.home / "dta"
    for verb, words in (
        ("status", ()),
        ("tag", ()),
        ("import", ("nope.csv",)),
        ("import_passages", ("nope.jsonl",)),
    ):
        code = 2 if words else 3
        refused_run = workspace.run_command(
            verb, *words, data=mistyped_folder, code=code, **no_server
        )
        assert "nothing was " in refused_run.stderr

    undecodable_folder = f"{workspace.home}/d\udce4ta"
    status_run = workspace.run_command("status", data=undecodable_folder, code=2, **no_server)
    assert "not valid UTF-8" in status_run.stderr
    assert [path.name for path in workspace.home.iterdir()] == ["people.csv"]

    # Special characters of URLs and shells are valid in a folder's name.
    name = "100% #1 & co?b#c%20d"
    workspace.run_command("import", people, data=workspace.home / name, **no_server)
    assert {path.name for path in workspace.home.iterdir()} == {name, "people.csv"}


def test_documents_go_to_standard_output_and_exports_follow_links(workspace: Workspace) -> None:
    """Standard output has only the document, and `export` replaces only regular files."""
    rows = ("ann,Ann,Lee,CTO,Acme,Water.", "=bob,Bob,Ray,,,Soil.", "short,row")
    workspace.write_file("people.csv", HEADER + "\n".join(rows) + "\n")
    workspace.run_command("import", "people.csv", report="rejects.csv")
    assert (workspace.home / "rejects.csv").exists()
    findings = workspace.read_json("import", "people.csv")["findings"]
    assert [finding["line"] for finding in findings] == [4]

    export_run = workspace.run_command("export", "-", format="json")
    assert [row["Username"] for row in export_run.json] == ["ann", "=bob", "short"]
    assert "\n'=bob," in workspace.run_command("export", "-", format="csv").stdout

    os.mkfifo(workspace.home / "pipe")
    (workspace.home / "link").symlink_to("pipe")
    (workspace.home / "to.csv").symlink_to("real.csv")
    for name in ("pipe", "link"):
        assert (
            "is not a regular file"
            in workspace.run_command("export", name, format="csv", code=2).stderr
        )
    workspace.run_command("export", "to.csv")
    assert (workspace.home / "to.csv").is_symlink()
    assert "ann" in (workspace.home / "real.csv").read_text()
    assert (workspace.home / "pipe").is_fifo()


def test_next_step_repeats_the_folder_of_the_command(workspace: Workspace) -> None:
    """A printed next step repeats the folder of the command, and can be typed."""
    no_settings = {"DATA": "", "DATABASE_URL": ""}
    people = workspace.write_file("people.csv", '"Usernames, all",Bio\nada,Keeps bees\n')
    folder = workspace.home / "a place"

    workspace.run_command(
        "import", people, map='"username=Usernames, all"', data=folder, **no_settings
    )

    status_run = workspace.run_command("status", data=folder, **no_settings)
    assert status_run.stderr.endswith(f'next: askrows tag --data "{folder}"\n')
    search_run = workspace.run_command("search", "bees", data=folder, code=2, **no_settings)
    assert f'`askrows index --data "{folder}"`' in search_run.stderr
    forget_run = workspace.run_command("forget", "ada", data=folder, code=2, **no_settings)
    assert "next: --yes confirms\n" in forget_run.stderr


def test_environment_overrides_the_settings_file(workspace: Workspace) -> None:
    """The environment overrides `.env`, and `settings` shows the source and the masked key."""
    workspace.write_file(".env", f"GEMINI_API_KEY={KEY}x\nASKROWS_DIM=512\nASKROWS_LIMIT=1\n")

    settings = {setting["name"]: setting for setting in workspace.read_json("settings", DIM=256)}
    dimensions = settings["ASKROWS_DIM"]
    assert (dimensions["value"], dimensions["source"]) == ("256", "environment")
    assert settings["GEMINI_API_KEY"]["value"] == "…" + KEY[-4:]

    # The file sets an option as well.
    workspace.import_people(3)
    workspace.run_command("tag", mode="live")
    assert workspace.state_counts() == {"tagged": 1, "open": 2}

    workspace.write_file(".env", "ASKROWS_LIMTI=5\n")
    assert "did you mean ASKROWS_LIMIT?" in workspace.run_command("settings", code=2).stderr
    (workspace.home / ".env").write_bytes(b"GEMINI_API_KEY=geheim\xff\n")
    assert "geheim" not in workspace.run_command("status", code=3).stderr
    (workspace.home / ".env").unlink()


def test_make_passes_words_unchanged_and_ignores_foreign_variables(workspace: Workspace) -> None:
    """`make` passes quotes and blanks unchanged, and ignores the variables of other projects."""
    mistyped_run = run_make(workspace, "tag", "LIMTI=5")
    assert (mistyped_run.returncode, mistyped_run.stdout) == (2, "")
    assert "unknown variable LIMTI; did you mean LIMIT?; nothing was done" in mistyped_run.stderr
    assert run_make(workspace, "search", "Q=law", "BATCH=1").returncode == 2
    assert run_make(workspace, "search", "q=law").returncode == 2
    message = "ASKROWS_TASK is 'Experts' (make's command line): must be"
    assert message in run_make(workspace, "status", "TASK=Experts").stderr

    question = "a \"b\" 'c' ; touch $$HOME/x `id` #d"
    words = (f"Q={question}", f"DATA={workspace.data}")
    search_run = run_make(workspace, "search", *words, HOME=str(workspace.home))
    assert f"next: `make import EXPERTS=people.csv DATA={workspace.data}" in search_run.stderr
    assert not workspace.home.exists(), [*workspace.home.rglob("*")]

    # Variables of another project that have the name of a setting.
    foreign_environ = {
        "DATABASE_URL": "postgresql+psycopg://them@db/theirs",
        "VERSION": "9",
        "DEBUG": "maybe",
        "DIM": "256",
    }
    settings_run = run_make(
        workspace,
        "settings",
        "JSON=1",
        "MODEL=gemini-2.5-flash",
        ASKROWS_CONCURRENCY="3",
        **foreign_environ,
    )
    settings = {
        setting["name"]: str(setting["value"]) for setting in json.loads(settings_run.stdout)
    }
    expected_settings = {
        "DIM": "256",
        "MODEL": "gemini-2.5-flash",
        "CONCURRENCY": "3",
        "DATA": str(workspace.data),
    }
    for name, value in expected_settings.items():
        assert settings[f"ASKROWS_{name}"] == value
    assert "theirs" not in settings_run.stdout


@pytest.mark.promise("ending")
def test_error_of_the_machine_is_reported_without_a_traceback(workspace: Workspace) -> None:
    """A full disk, a closed pipe, a foreign encoding, no time zones or no input is no bug."""
    filler = "I keep bees. " * 40
    rows = "".join(f"p-{number},P,,,,{filler}\n" for number in range(200))
    workspace.write_file(
        "people.csv", f"{HEADER}żółw,Z,,,,I keep bees in Łódź \N{HONEYBEE}.\n{rows}"
    )
    workspace.run_command("import", "people.csv")
    python = shlex.quote(os.environ.get("PRODUCT_PYTHON") or PYTHON)
    askrows = f"cd {shlex.quote(str(PRODUCT))}; exec {python} -m askrows"
    environ = PLAIN_ENVIRON | workspace.environ

    def run_shell(line: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
        """Run a shell line; ASKROWS and END enclose the arguments of the command."""
        words = ["sh", "-c", line.replace("ASKROWS", f"({askrows}").replace("END", ")")]
        return subprocess.run(
            words, env=environ | variables, capture_output=True, check=False, timeout=120
        )

    closed_pipe = run_shell("{ ASKROWS export -END; echo code $? >&2; } | head -1")
    assert closed_pipe.stdout.startswith(b"Username")
    assert closed_pipe.stderr == b"code 0\n"

    full_disk = run_shell("ASKROWS settingsEND >/dev/full")
    assert full_disk.returncode == 3
    assert full_disk.stderr.startswith(b"error: No space left")

    assert run_shell("ASKROWS settings --no-such-optionEND <&- >&- 2>&-").returncode == 2

    ascii_output = run_shell("ASKROWS show żółw --jsonEND", PYTHONIOENCODING="ascii")
    assert ascii_output.returncode == 0
    assert json.loads(ascii_output.stdout)["columns"]["username"] == "żółw"

    # This file hides the package of time zones.
    zones = workspace.write_file("zones/tzdata.py", "")
    no_zones = run_shell("ASKROWS statusEND", PYTHONTZPATH="", PYTHONPATH=str(zones.parent))
    assert no_zones.returncode == 3
    assert b"no time zone data" in no_zones.stderr
    assert b"pip install tzdata" in no_zones.stderr

    no_input = run_shell("ASKROWS forget p-1END <&-")
    assert no_input.returncode == 2
    assert b"not confirmed" in no_input.stderr

    with workspace.start_command("web", port=0, no_open=True) as running:
        while "http://" not in running.read_output():
            assert not running.is_finished(), running.read_output()
        running.signal(signal.SIGTERM)
        assert running.wait().code == 0


def test_wrong_mapping_of_columns_is_refused(workspace: Workspace) -> None:
    """MAP= with an unknown or a repeated column names what to type."""
    workspace.write_file("odd.csv", "User,About you\nines,I build guitars.\n")
    for mapping, message in (
        ("bio", "not column=name"),
        ("height=About", "which is not a column"),
        ("bio=Abuot", "Found: User, About you"),
        ("bio=About you,username=About you", "twice"),
        ("bio=About you,Bio=User", "names both 'About you' and 'User' for Bio"),
        ("bio=,bio=About you", "names both '' and 'About you' for bio"),
    ):
        assert message in workspace.run_command("import", "odd.csv", map=mapping, code=2).stderr
    workspace.run_command("import", "odd.csv", map="bio=About you")
    assert workspace.exported_rows()[-1]["Bio"] == "I build guitars."
