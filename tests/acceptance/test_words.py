"""What people type: mistyped words are refused with the right one, errors are short, next steps can be typed."""

import json
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.process import PRODUCT, PYTHON
from tests.acceptance.product import HEADER, KEY, ON_POSTGRESQL, Workspace

TYPED = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("FINDABLE_", "MAKE", "MFLAGS", "GEMINI_", "GOOGLE_"))
}


def make(workspace: Workspace, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the real make in a workspace."""
    return subprocess.run(
        ["make", "-s", *words],
        cwd=PRODUCT,
        env=TYPED | {"FINDABLE_DATA": str(workspace.data)} | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


WRONG: tuple[
    tuple[tuple[str, ...], dict[str, Any], int, str], ...
] = (  # words, settings, exit code, what is said
    (
        ("serach",),
        {},
        2,
        "unknown command 'serach'; did you mean search?\nnext: `findable --help` lists the commands\n",
    ),
    (("--nope",), {}, 2, "No such option '--nope'."),
    (("tag", "--limt", "5"), {}, 2, "--limit"),
    (("tag", "--mode", "lvie"), {}, 2, "'lvie' is not one of 'auto', 'batch', 'flex', 'live'"),
    (("tag",), {"LIMTI": 5}, 2, "unknown LIMTI; did you mean LIMIT?; nothing was done"),
    (("status",), {"TASK": "passges"}, 3, "there is no task 'passges'"),
    (
        ("status",),
        {"DIM": "many"},
        3,
        "FINDABLE_DIM is 'many' (environment): must be a whole number",
    ),
    (("status",), {"BACKEND": "gemni"}, 3, "must be 'gemini' or 'local'"),
    (("status",), {"BATCH_BYTES": "5 apples"}, 3, "FINDABLE_BATCH_BYTES is '5 apples'"),
    (("status",), {"DATABASE_URL": "no url at all"}, 3, "FINDABLE_DATABASE_URL is no database URL"),
    (("status",), {"DATABASE_URL": "mysql://u:geheim@h/d"}, 3, "not in mysql"),
    (("clean",), {"KEEP_DAYS": "800000"}, 3, "from 0 to 100,000"),
    (("batch-submit",), {"SKIP_VERSIONS": ","}, 3, "FINDABLE_SKIP_VERSIONS is ','"),
    (
        ("batch-submit",),
        {"MODEL": "gemini-0-nano"},
        3,
        "'gemini-0-nano' is not a model findable knows",
    ),
    (
        ("index",),
        {"EMBEDDING_MODEL": "gemini-0-vectors"},
        3,
        "gemini-0-vectors",
    ),  # of one who is tagged
    (("index",), {"DIM": "100000"}, 3, "100000"),
    (("tag",), {"LIMIT": "1,00"}, 2, "'1,00' must be a whole number, such as 50, 1,000 or 1k"),
    (("preflight",), {"DEADLINE": "2h30"}, 2, "'2h30'"),
    (("batch-cancel", "9" * 30), {}, 2, "is not in the range"),
    (("show", "ad\udcffa"), {}, 2, "not valid UTF-8"),
    (("rollback", "ad\udcffa"), {}, 2, "not valid UTF-8"),
    (("import",), {}, 2, "With make: EXPERTS="),
    (("batch-cancel",), {}, 2, "With make: BATCH="),
    (("export",), {}, 2, "With make: TO="),
    (
        ("import", "nope.csv"),
        {},
        2,
        "nope.csv is not there; nothing was imported\nnext: check the path",
    ),
    (("add-expert", "nope.json"), {}, 2, "nope.json is not there; nothing was"),
    (("search",), {}, 2, "there is no question"),
    (("show", "nobody"), {}, 2, "nobody"),
    (("export", "out.doc"), {}, 2, "out.doc"),
    (("status", "--watch", "--json"), {}, 2, "--watch"),
)


def test_what_is_typed_wrong_is_told_in_three_lines_and_does_nothing(workspace: Workspace) -> None:
    """With the right word, and an exit code that means something; with --json as one document, and nothing else."""
    workspace.people(1)
    workspace.do("tag_live")
    workspace.people(1, first=1)
    status = workspace.status()
    for words, settings, code, said in WRONG:
        done = workspace.do(*words, code=code, **settings)
        told = re.sub(r"\s+", " ", done.err)
        assert re.sub(r"\s+", " ", said).strip() in told, (words, done)
        if "--json" not in words:
            assert (done.out, done.err.count("\n") in {1, 2, 3}, "geheim" in told) == (
                "",
                True,
                False,
            ), (words, done)
        if words[0] in {"--nope", "serach"} or "--json" in words:
            continue
        document = workspace.do(*words, code=code, json=True, **settings).json
        assert (set(document), document["exit_code"]) == ({"error", "hint", "exit_code"}, code), (
            words
        )
    workspace.seen.discard("passges")
    assert workspace.status() == status
    assert not (workspace.home / "nope").exists()


def test_a_place_that_can_be_no_workspace_makes_none(workspace: Workspace) -> None:
    """A file, one below a file, where the system lets nobody write, a name that is no text, or one mistyped."""
    here = workspace.put("people.csv", f"{HEADER}ada,A,B,,,I keep bees.\n")
    bare: dict[str, Any] = {"DATABASE_URL": ""} if ON_POSTGRESQL else {}
    for place in (here, here / "data", "/proc/findable/data"):
        assert (
            "cannot be the workspace"
            in workspace.do("import", here, DATA=place, code=3, **bare).err
        )
    for verb, words in (
        ("status", ()),
        ("tag", ()),
        ("import", ("nope.csv",)),
        ("import_passages", ("nope.jsonl",)),
    ):
        code = 2 if words else 3
        assert (
            "nothing was "
            in workspace.do(verb, *words, data=workspace.home / "dta", code=code, **bare).err
        )
    assert (
        "not valid UTF-8"
        in workspace.do("status", data=f"{workspace.home}/d\udce4ta", code=3, **bare).err
    )
    assert [one.name for one in workspace.home.iterdir()] == ["people.csv"]
    name = "100% #1 & co?b#c%20d"
    workspace.do("import", here, data=workspace.home / name, **bare)
    assert {one.name for one in workspace.home.iterdir()} == {name, "people.csv"}


def test_documents_stand_alone_and_files_are_written_where_links_lead(workspace: Workspace) -> None:
    """Findings go to standard error; what is no regular file is never replaced; formats by their ending."""
    rows = ("ann,Ann,Lee,CTO,Acme,Water.", "=bob,Bob,Ray,,,Soil.", "short,row")
    workspace.put("people.csv", HEADER + "\n".join(rows) + "\n")
    assert (
        "--strict imported nothing"
        in workspace.do("import", "people.csv", strict=True, report="rejects.csv", code=2).err
    )
    assert (workspace.home / "rejects.csv").exists()
    import_run = workspace.do("import", "people.csv")
    assert import_run.out.startswith("2 people in: 2 added, 0 updated, 0 unchanged; 1 rejected")
    assert "rejected: line 4, Last Name: wrong number of fields: found 2" in import_run.err
    assert [one["line"] for one in workspace.read("import", "people.csv")["findings"]] == [4]
    for verb in ("status", "batches", "preflight", "submit", "poll", "ingest", "index", "doctor"):
        assert workspace.read(verb) is not None
    for verb, *words in (
        ("search", "water"),
        ("show", "ann"),
        ("costs",),
        ("log",),
        ("settings",),
        ("prices",),
    ):
        assert workspace.read(verb, *words) is not None
    printed = workspace.do("export", "-", format="json")
    assert [one["Username"] for one in printed.json] == ["ann", "=bob", "short"]
    assert "\n'=bob," in workspace.do("export", "-", format="csv").out
    os.mkfifo(workspace.home / "pipe")
    (workspace.home / "link").symlink_to("pipe")
    (workspace.home / "to.csv").symlink_to("real.csv")
    for name in ("pipe", "link"):
        assert "no regular file" in workspace.do("export", name, format="csv", code=2).err
    workspace.do("export", "to.csv")
    assert (workspace.home / "to.csv").is_symlink()
    assert "ann" in (workspace.home / "real.csv").read_text()
    assert (workspace.home / "pipe").is_fifo()


def test_a_next_step_is_typed_as_this_one_was(workspace: Workspace) -> None:
    """With the place and the task where they were given on the line; one of two words stays one; each can be typed."""
    bare = {"DATA": "", "DATABASE_URL": ""}
    people = workspace.put("people.csv", '"Usernames, all",Bio\nada,Keeps bees\n')
    place = workspace.home / "a place"
    said = workspace.do("import", people, data=place, code=2, **bare).err
    step = shlex.split(said.rpartition("next: findable ")[2].partition("    (")[0])
    assert step == [
        "import",
        str(people),
        "--map",
        '"username=Usernames, all"',
        "--data",
        str(place),
    ]
    workspace.do(*step, **bare)
    text = workspace.do("status", data=place, **bare).out
    assert text.endswith(f'next       findable tag --data "{place}"\n')
    assert (
        f'`findable index --data "{place}"`'
        in workspace.do("search", "bees", data=place, code=2, **bare).err
    )
    assert (
        "next: --yes answers yes\n" in workspace.do("forget", "ada", data=place, code=2, **bare).err
    )
    workspace.put(
        "texts.jsonl",
        json.dumps({"id": "a", "text": "Study 1 examines river deltas by measurements."}),
    )
    workspace.do("import_passages", "texts.jsonl", data=place, **bare)
    said = workspace.do("submit", data=place, task="passages", CONFIRM_ABOVE=0, code=2, **bare).err
    assert said.endswith("next: --yes answers yes\n")
    workspace.do("submit", data=place, task="passages", **bare)
    said = workspace.do("status", data=place, task="passages", **bare).out
    assert (
        f'findable batch-poll --data "{place}" --task passages' in said
        or "findable batch-poll --task passages" in said
    )


def test_settings_come_from_the_environment_before_the_file(workspace: Workspace) -> None:
    """`.env` gives options, too; what is set is shown with its unit and where it came from, the key masked."""
    workspace.put(
        ".env",
        f"GEMINI_API_KEY={KEY}x\nFINDABLE_MODEL=gemini-2.5-flash\nFINDABLE_DIM=512\nFINDABLE_LIMIT=1\n",
    )
    found = {one["name"]: one for one in workspace.read("settings", DIM=256)}
    assert (found["FINDABLE_MODEL"]["value"], found["FINDABLE_MODEL"]["source"]) == (
        "gemini-2.5-flash",
        ".env",
    )
    assert (found["FINDABLE_DIM"]["value"], found["FINDABLE_DIM"]["source"]) == (
        "256",
        "environment",
    )
    assert found["GEMINI_API_KEY"]["value"] == "…" + KEY[-4:]
    assert (found["FINDABLE_CALL_TIMEOUT"]["value"], found["FINDABLE_CALL_TIMEOUT"]["unit"]) == (
        "5.0",
        "s",
    )
    shown = workspace.do("settings", DATABASE_URL="postgresql://ada:geheim@db/people").said
    assert ("geheim" in shown, "@db/people" in shown) == (False, True)
    workspace.people(3)
    workspace.do("tag", mode="live")
    assert workspace.states() == {"tagged": 1, "untagged": 2}
    workspace.put(".env", "FINDABLE_LIMTI=5\n")
    assert "did you mean LIMIT?" in workspace.do("settings", code=2).err
    workspace.put(".env", "")
    (workspace.home / ".env").write_bytes(b"GEMINI_API_KEY=geheim\xff\n")
    error_output = workspace.do("status", code=3).err
    assert (".env cannot be read" in error_output, "geheim" in error_output) == (True, False)
    (workspace.home / ".env").unlink()


def test_make_hands_on_what_is_typed_and_takes_nothing_else(workspace: Workspace) -> None:
    """Quotes, blanks, $ and ; are no shell's; another project's DATABASE_URL means nothing; the next step is make's."""
    done = make(workspace, "tag", "LIMTI=5")
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown LIMTI; did you mean LIMIT?; nothing was done" in done.stderr
    assert (
        "BATCH= is not of `make search`; nothing was done"
        in make(workspace, "search", "Q=law", "BATCH=1").stderr
    )
    assert (
        "unknown q; did you mean Q?; nothing was done" in make(workspace, "search", "q=law").stderr
    )
    question = "a \"b\" 'c' ; touch $$HOME/x `id` #d"
    stderr = make(
        workspace, "search", f"Q={question}", f"DATA={workspace.data}", HOME=str(workspace.home)
    ).stderr
    assert f"next: `make import DATA={workspace.data}" in stderr
    assert not workspace.home.exists(), [*workspace.home.rglob("*")]
    theirs = {
        "DATABASE_URL": "postgresql+psycopg://them@db/theirs",
        "VERSION": "9",
        "DEBUG": "maybe",
        "DIM": "256",
    }
    done = make(
        workspace,
        "settings",
        "JSON=1",
        "MODEL=gemini-2.5-flash",
        FINDABLE_CONCURRENCY="3",
        **theirs,
    )
    found = {load["name"]: str(load["value"]) for load in json.loads(done.stdout)}
    wanted = {
        "DIM": "256",
        "MODEL": "gemini-2.5-flash",
        "CONCURRENCY": "3",
        "DATA": str(workspace.data),
    }
    assert {name: found[f"FINDABLE_{name}"] for name in wanted} == wanted
    assert "theirs" not in done.stdout
    stdout = make(workspace, "correct", "HELP=1").stdout
    assert "Usage: findable correct" in stdout
    assert not re.search(r" _[A-Z]+", stdout)
    everyday = re.findall(r"^  ([a-z-]+) +\S", make(workspace, "help").stdout, re.MULTILINE)
    assert {"import", "tag", "status", "search"} <= set(everyday)
    assert len(everyday) <= 20


def test_an_error_of_the_machine_is_no_bug(workspace: Workspace) -> None:
    """A full or closed output, a reader that has seen enough, an encoding without these letters, SIGTERM, no input."""
    workspace.put(
        "people.csv",
        f"{HEADER}żółw,Z,,,,I keep bees in Łódź \N{HONEYBEE}.\n"
        + "".join(f"p-{n},P,,,,{'I keep bees. ' * 40}\n" for n in range(200)),
    )
    workspace.do("import", "people.csv")
    findable = f"cd {shlex.quote(str(PRODUCT))}; exec {shlex.quote(os.environ.get('PRODUCT_PYTHON') or PYTHON)} -m jobs"
    environ = TYPED | workspace.environ

    def shell(line: str, **more: str) -> subprocess.CompletedProcess[bytes]:
        """Run a line of shell in which FINDABLE stands for the command."""
        words = ["sh", "-c", line.replace("FINDABLE", f"({findable}").replace("END", ")")]
        return subprocess.run(
            words, env=environ | more, capture_output=True, check=False, timeout=120
        )

    done = shell("{ FINDABLE export -END; echo code $? >&2; } | head -1")
    assert (done.stdout.startswith(b"Username"), done.stderr) == (True, b"code 0\n")
    done = shell("FINDABLE settingsEND >/dev/full")
    assert (done.returncode, done.stderr.startswith(b"error: No space left")) == (3, True)
    assert shell("FINDABLE settings --no-such-optionEND <&- >&- 2>&-").returncode == 2
    done = shell("FINDABLE show żółw --jsonEND", PYTHONIOENCODING="ascii")
    assert (done.returncode, json.loads(done.stdout)["columns"]["username"]) == (0, "żółw")
    done = shell("FINDABLE forget p-1END <&-")
    assert (done.returncode, b"not confirmed" in done.stderr) == (2, True)
    with workspace.start("web", port=0, no_open=True) as running:
        while "http://" not in running.so_far():
            assert not running.has_ended(), running.so_far()
        running.signal(signal.SIGTERM)
        assert running.wait().code == 0


GERMAN = "Benutzername;Vorname;Nachname;Berufsbezeichnung;Firma;Über mich;Stundensatz;Währung"
FRENCH = "Identifiant;Prénom;Nom;Métier;Société;À propos;Taux horaire;Devise"
CHINESE = "用户名;名;姓;职位;公司;个人简介;时薪;货币"


@pytest.mark.parametrize(
    ("header", "encoding"),
    [(GERMAN, "cp1252"), (FRENCH, "utf-8-sig"), (CHINESE, "utf-16")],
    ids=["de", "fr", "zh"],
)
def test_a_header_in_another_language_is_taken_and_said(
    workspace: Workspace, header: str, encoding: str
) -> None:
    """In any encoding that is read; what MAP= says counts, and what fits no column is refused with what to type."""
    path = workspace.put("people.csv", "")
    path.write_bytes(
        f"{header}\r\njörg;Jörg;Groß;Uhrmacher;Zeit & Söhne;Repariert Turmuhren;80;EUR\r\n".encode(
            encoding
        )
    )
    said = workspace.do("import", "people.csv").err
    assert len(re.findall(r"^note: columns by other names: .*→ Bio", said, re.MULTILINE)) == 1
    (found,) = workspace.exported()
    wanted = ["jörg", "Jörg", "Groß", "Uhrmacher", "Zeit & Söhne", "Repariert Turmuhren", 80, "EUR"]
    columns = (
        "Username",
        "First Name",
        "Last Name",
        "Job Title",
        "Company",
        "Bio",
        "Hourly Rate",
        "Currency",
    )
    assert [found[name] for name in columns] == wanted
    workspace.put("odd.csv", "User,About you\nines,I build guitars.\n")
    for given, said in (
        ("bio", "not column=name"),
        ("height=About", "which is no column"),
        ("bio=Abuot", "bio=About you"),
        ("bio=About you,username=about_you", "twice"),
    ):
        assert said in workspace.do("import", "odd.csv", map=given, code=2).err
    workspace.do("import", "odd.csv", map="bio=About you")
    assert workspace.exported()[-1]["Bio"] == "I build guitars."


def test_the_engine_and_the_binding_are_told(workspace: Workspace) -> None:
    """Without a key the local engine works, and is named; a workspace stays with who answered, whatever comes later."""
    workspace.people(2)
    url = workspace.url
    workspace.url = ""
    workspace.settings["BACKEND"] = ""
    error_output = workspace.do("submit").err
    assert error_output.count("no key is set: the local engine does the work") == 1
    workspace.url = url
    assert "the key is not used" in workspace.do("poll").err
    refused = workspace.do("submit", BACKEND="gemini", code=3).err
    assert "bound to the local backend" in refused
    workspace.do("ingest")
    assert workspace.states() == {"tagged": 2}
    assert Path(workspace.data / "local-engine.sqlite").exists()
