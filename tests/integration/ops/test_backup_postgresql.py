"""`make backup` of a database on a PostgreSQL server: whatever its sessions begin with, and why it fails."""

import shlex
from pathlib import Path

import pytest

from pipeline.experts import table
from tests import postgresql
from tests.lab import Workspace, ran

URL, PROGRAMS = "FINDABLE_DATABASE_URL", "FINDABLE_PG_BIN"
BIO = "I keep bees \N{GRINNING FACE}."
NEW = "as new as the server"
ERRORS = {  # how pg_dump fails -> what it writes, what of it is shown, and whether it is about versions
    "versions": (
        ("aborting because of server version mismatch", "detail: server version: 18.0; pg_dump version: 16.4"),
        "server version mismatch; server version: 18.0; pg_dump version: 16.4",
        True,
    ),
    "setting": (
        ('query failed: ERROR:  unrecognized configuration parameter "transaction_timeout"',),
        "transaction_timeout",
        True,
    ),
    "server": (
        (
            'Dumping the contents of table "experts" failed: PQgetResult() failed.',
            "detail: Error message from server: ERROR:  out of memory\nDETAIL:  of a row",
            "detail: Command was: COPY public.findable_version (version_num) TO stdout;",
        ),
        "PQgetResult() failed; Error message from server: ERROR:  out of memory; nothing was kept of it",
        False,
    ),
    "right": (
        (
            "query failed: ERROR:  permission denied for table theirs",
            "detail: Query was: LOCK TABLE public.theirs, public.findable_version IN ACCESS SHARE MODE",
        ),
        "permission denied for table theirs; nothing was kept of it",
        False,
    ),
    "nothing": ((), "pg_dump failed; nothing was kept of it", False),
}


def scripted(folder: Path, lines: str) -> str:
    """Make a pg_dump of a few lines of shell, and return the folder that it stands in."""
    folder.mkdir()
    (folder / "pg_dump").write_text(f"#!/bin/sh\n{lines}\n")
    (folder / "pg_dump").chmod(0o755)
    return str(folder)


@pytest.fixture
def served(workspace: Workspace) -> Workspace:
    """A workspace of one person, whose database is on a server whichever the others are in."""
    own = {URL: postgresql.database_of(workspace.data), PROGRAMS: str(postgresql.shared().programs)}
    made = Workspace(workspace.data, workspace.environ | own)
    with made.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "one", {"bio": BIO})
    return made


def test_text_is_dumped_as_utf8_whatever_is_set(
    served: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where programs of this user and sessions of this database speak LATIN1, every character comes back."""
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    name = postgresql.name_of(served.data)
    postgresql.rows(served.environ[URL], f"ALTER DATABASE \"{name}\" SET client_encoding = 'LATIN1'")
    ran(served, "backup", str(tmp_path / "copy"))
    postgresql.empty(served.data)
    ran(served, "restore", str(tmp_path / "copy"))
    with served.open() as ws, ws.store.read() as tx:
        assert [row["bio"] for row in table.all_experts(tx)] == [BIO]


def test_a_dump_that_fails_says_why(served: Workspace, tmp_path: Path) -> None:
    """Exit code 3 with the server's reason and none of its rows; versions are named where they are to blame."""
    for how, (written, shown, is_version) in ERRORS.items():
        text = "".join(f"pg_dump: {'' if line.startswith('detail') else 'error: '}{line}\n" for line in written)
        programs = scripted(tmp_path / how, f"printf %s {shlex.quote(text)} >&2; exit 1")
        said = ran(served, "backup", str(tmp_path / "copy"), code=3, PG_BIN=programs)
        assert shown in said
        assert (NEW in said, " was: " in said, "of a row" in said) == (is_version, False, False), how
        assert not list(tmp_path.glob("copy*"))


def test_a_missing_right_is_told_as_what_it_is(served: Workspace, tmp_path: Path) -> None:
    """A table that the user of the URL may not read ends the backup with its name, and no word of versions."""
    user = postgresql.name_of(served.data) + "_reader"
    for one in (f'CREATE ROLE "{user}" LOGIN', f'GRANT pg_read_all_data TO "{user}"'):
        postgresql.shared().execute(one)
    url = served.environ[URL]
    for one in ("CREATE TABLE theirs (note TEXT)", "ALTER TABLE theirs ENABLE ROW LEVEL SECURITY"):
        postgresql.rows(url, one)
    served.environ[URL] = url.replace("postgres@", f"{user}@")
    said = ran(served, "backup", str(tmp_path / "copy"), code=3)
    assert ("theirs" in said, NEW in said) == (True, False)


@pytest.mark.full
def test_a_comment_on_their_schema_does_not_stop_a_restore(served: Workspace, tmp_path: Path) -> None:
    """What belongs to the server's owner is left out: who may only make tables there restores all that is ours."""
    user = postgresql.name_of(served.data) + "_user"
    postgresql.shared().execute(f'CREATE ROLE "{user}" LOGIN')
    url = served.environ[URL]
    postgresql.rows(url, "COMMENT ON SCHEMA public IS 'where everything is'")
    ran(served, "backup", str(tmp_path / "copy"))
    postgresql.empty(served.data)
    postgresql.rows(url, f'GRANT ALL ON SCHEMA public TO "{user}"')
    served.environ[URL] = url.replace("postgres@", f"{user}@")
    ran(served, "restore", str(tmp_path / "copy"))
    assert postgresql.rows(served.environ[URL], "SELECT username FROM experts") == [("one",)]


def test_the_password_of_a_key_is_in_no_list_of_processes(served: Workspace, tmp_path: Path) -> None:
    """It is handed over in a file that no other user may read, and is gone afterwards; the dump is as good."""
    seen, real = tmp_path / "seen", postgresql.shared().programs / "pg_dump"
    lines = f'stat -c %a "$PGSERVICEFILE" >{seen}; cat "$PGSERVICEFILE" >>{seen}; echo "$PGSERVICEFILE" "$@" >>{seen}'
    programs = scripted(tmp_path / "programs", f'{lines}; exec {real} "$@"')
    served.environ[URL] += "&sslpassword=keysecret"
    ran(served, "backup", str(tmp_path / "copy"), PG_BIN=programs)
    mode, *service, words = seen.read_text().splitlines()
    assert (mode, service[-1]) == ("600", "sslpassword=keysecret")
    assert "keysecret" not in words
    assert not Path(words.split()[0]).exists()


def test_the_password_of_a_key_beside_a_service_is_refused(
    served: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the URL names a service the password belongs there: exit code 3, and nothing is written."""
    (tmp_path / "services").write_text("[theirs]\napplication_name=theirs\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    served.environ[URL] += "&sslpassword=keysecret&service=theirs"
    refused = ran(served, "backup", str(tmp_path / "copy"), code=3)
    assert ("sslpassword" in refused, "keysecret" in refused) == (True, False)
    assert not list(tmp_path.glob("copy*"))
