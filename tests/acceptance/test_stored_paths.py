"""A path in the database or in a manifest reaches only the file that it should name."""

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests import postgresql
from tests.acceptance.database import connect, run_sql
from tests.acceptance.engine import Engine
from tests.acceptance.product import IMAGES, ON_POSTGRESQL, Workspace

SECRET = b'{"key": "experts/1", "request": {"secret": "of another folder"}}\n'
CHAIN = ("submit", "poll", "ingest", "index")
# Checks that do not apply to a workspace whose records of files were changed.
FORGED = (
    "sealed_files_are_as_sealed",
    "status_adds_up",
    "spend_adds_up",
    "nothing_is_left_to_do",
    "batches_are_made_once",
    "nobody_is_answered_twice",
    "tags_never_change",
)


def run_as_forger(workspace: Workspace, statement: str, **values: Any) -> None:
    """Run a statement on the product's tables with permission only to read and update them."""
    if not workspace.server:
        with connect(workspace) as connection:
            connection.execute("PRAGMA foreign_keys = OFF")
            connection.execute(statement, values)
        return

    with connect(workspace) as server:
        role = f"{postgresql.name_of(workspace.data)}_forger"
        server.execute(f'CREATE ROLE "{role}"')
        server.execute(f'GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO "{role}"')
        server.execute(f'SET ROLE "{role}"')
        server.execute(postgresql.translated(statement), values)
        server.execute(f'RESET ROLE; DROP OWNED BY "{role}"; DROP ROLE "{role}"')


def write_secret(folder: Path) -> Path:
    """Write a file that no command may read, change or remove, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "secret.jsonl"
    path.write_bytes(SECRET)
    return path


def secret_names(workspace: Workspace, secret: Path) -> dict[str, str]:
    """Return names of a secret outside the workspace and of a file that belongs to no batch."""
    inner_secret = write_secret(workspace.data / "tasks")
    (workspace.data / "tasks" / "linked").symlink_to(secret.parent)
    return {
        "absolute": str(secret),
        "above": f"batches/../../{secret.parent.name}/{secret.name}",
        "linked": f"tasks/linked/{secret.name}",
        "another file": str(inner_secret.relative_to(workspace.data)),
        "with a NUL": "batches/secret\0" if not ON_POSTGRESQL else "batches/secret",
    }


def set_file_name(workspace: Workspace, kind: str, name: str) -> None:
    """Change the file name of batch 1, with the right hash of the secret."""
    sha256 = hashlib.sha256(SECRET).hexdigest()
    values = f"{kind}_file = :name, {kind}_sha256 = :sha256"
    if kind == "request":
        values += f", request_size = {len(SECRET)}"
    run_as_forger(
        workspace,
        f"UPDATE askrows_batches SET {values}",  # noqa: S608 - constant columns
        name=name,
        sha256=sha256,
    )


def is_untouched(workspace: Workspace, secret: Path) -> bool:
    """Return whether both secrets are as they were, and no copy of them was made."""
    files = [path for path in workspace.home.rglob("*") if path.is_file()]
    files_with_secret = [path for path in files if b"of another folder" in path.read_bytes()]
    databases = {path for path in files_with_secret if path.name.startswith("askrows.db")}
    inner_secret = workspace.data / "tasks" / secret.name
    return {*files_with_secret} - databases == {secret, inner_secret}


@pytest.mark.alike
@pytest.mark.excused(*FORGED)
@pytest.mark.parametrize("kind", ["request", "result"])
@pytest.mark.promise("paths")
def test_no_command_follows_the_path_of_an_ingested_batch(
    workspace: Workspace, tmp_path: Path, kind: str
) -> None:
    """Clean, forget, backup and doctor end with exit code 5; show and work ignore the file."""
    usernames = workspace.import_people(3)
    workspace.run_commands(*CHAIN)
    secret = write_secret(workspace.home / "theirs")
    commands: list[tuple[Any, ...]] = [("clean",), ("forget", usernames[0]), ("doctor",)]
    if not ON_POSTGRESQL:
        commands.append(("backup", tmp_path / "copy"))

    for name in secret_names(workspace, secret).values():
        set_file_name(workspace, kind, name)
        for command, *arguments in commands:
            options = {"yes": True} if command == "forget" else {}
            process = workspace.run_command(command, *arguments, code=5, KEEP_DAYS=0, **options)
            assert f"names the file {name!r}" in process.output

        assert "another folder" not in workspace.run_command("show", usernames[0], raw=True).output
        workspace.run_command("work", once=True)
        assert not (tmp_path / "copy").exists()
        assert is_untouched(workspace, secret)
    assert workspace.state_counts() == {"tagged": 3}


@pytest.mark.alike
@pytest.mark.excused(*FORGED)
def test_other_file_is_neither_sent_nor_ingested(workspace: Workspace, api: Engine) -> None:
    """A batch with the name of another file is neither sent nor ingested."""
    workspace.import_people(3)
    secret = write_secret(workspace.home / "theirs")
    # The batch stays prepared.
    api.script_fault("status", method="POST", path="upload", args={"code": 400})
    workspace.run_command("submit", code="any")
    api.clear_faults()
    uploads_before = count_uploads(api)
    names = secret_names(workspace, secret)
    for name in names.values():
        set_file_name(workspace, "request", name)
        assert f"names the file {name!r}" in workspace.run_command("submit", code=5).stderr
        assert f"names the file {name!r}" in workspace.run_command("work", once=True, code=5).output
    # No file was uploaded, also not by `work`.
    assert count_uploads(api) == uploads_before

    # The right name is stored again, and the batch continues until its result is downloaded.
    path = workspace.data / "batches" / "000001-requests.jsonl"
    run_as_forger(
        workspace,
        "UPDATE askrows_batches SET request_file = :name, request_sha256 = :sha256, "
        "request_size = :size",
        name="batches/000001-requests.jsonl",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        size=path.stat().st_size,
    )
    workspace.run_commands("submit", "poll")
    for name in names.values():
        set_file_name(workspace, "result", name)
        for verb, *arguments in (("ingest",), ("poll",), ("cancel", 1)):
            assert (
                f"names the file {name!r}" in workspace.run_command(verb, *arguments, code=5).output
            )
    assert is_untouched(workspace, secret)
    assert workspace.state_counts() == {"claimed": 3}


@pytest.mark.alike
@pytest.mark.excused(*FORGED)
@pytest.mark.promise("sealed")
def test_changed_sealed_file_is_neither_removed_nor_rewritten(
    workspace: Workspace,
) -> None:
    """Clean skips and names a changed file; forget fails until it is restored or removed."""
    usernames = workspace.import_people(3)
    workspace.run_commands(*CHAIN)
    path = workspace.data / "batches" / "000001-results.jsonl"
    sealed_bytes = path.read_bytes()
    path.write_bytes(sealed_bytes + SECRET)

    for is_dry_run in (True, False):
        clean_run = workspace.run_command("clean", dry=is_dry_run, json=True, KEEP_DAYS=0)
        assert clean_run.json["changed"] == [path.name]
        assert clean_run.json["batches"] == []
        assert "was changed" not in clean_run.stdout
        assert path.name in clean_run.stderr

    error_output = workspace.run_command("forget", usernames[0], yes=True, code=5).stderr
    assert str(path) in error_output
    assert path.read_bytes() == sealed_bytes + SECRET
    assert workspace.state_counts() == {"tagged": 3}

    path.write_bytes(sealed_bytes)
    workspace.run_command("forget", usernames[0], yes=True)
    assert b"experts/1" not in path.read_bytes()
    path.write_bytes(path.read_bytes() + SECRET)
    workspace.run_command("forget", usernames[1], yes=True, code=5)
    path.unlink()
    workspace.run_command("forget", usernames[1], yes=True)
    assert workspace.state_counts() == {"tagged": 1}


@pytest.mark.skipif(ON_POSTGRESQL, reason="a server copies its databases by its own programs")
@pytest.mark.promise("links")
def test_link_in_a_backup_is_not_followed(workspace: Workspace, tmp_path: Path) -> None:
    """A backup with a link or a name that leads out of it is not restored (exit code 2)."""
    workspace.import_people(3)
    workspace.run_commands(*CHAIN)
    workspace.run_command("backup", tmp_path / "copy")
    secret = write_secret(workspace.home / "theirs")
    manifest = tmp_path / "copy" / "manifest.json"
    document = json.loads(manifest.read_bytes())
    (tmp_path / "copy" / "linked").symlink_to(secret.parent)

    for name in (f"linked/{secret.name}", str(secret), f"../here/theirs/{secret.name}"):
        files = {**document["files"], name: hashlib.sha256(SECRET).hexdigest()}
        manifest.write_text(json.dumps({**document, "files": files}), encoding="utf-8")
        options: dict[str, Any] = {"from": tmp_path / "copy", "DATA": tmp_path / "restored"}
        restore_run = workspace.run_command("restore", code=2, **options)
        assert "is not below" in restore_run.stderr
        assert not (tmp_path / "restored").exists()


@pytest.mark.alike
@pytest.mark.excused(*FORGED)
@pytest.mark.promise("paths")
def test_name_of_a_task_is_no_path(workspace: Workspace) -> None:
    """A stored task name that leads out of the workspace is refused, and no file is run."""
    workspace.write_file("tasks/reviews.csv", "id,text\n1,I like it.\n")
    workspace.write_file(
        "tasks/reviews.py",
        "from askrows import Task\nfrom pydantic import BaseModel\n\n\n"
        "class Answer(BaseModel):\n    mood: str\n\n\n"
        'task = Task(answer=Answer, items="reviews.csv", key="id", prompt="How is {text}?")\n',
    )
    workspace.run_command("tag", mode="live", yes=True, TASK="reviews")
    workspace.write_file("evil.py", "from pathlib import Path\nPath('was-run').touch()\n")
    (workspace.data / "tasks").mkdir(exist_ok=True)

    rename = "UPDATE askrows_tasks SET name = :name, path = :path"
    run_as_forger(workspace, rename, name="../../evil", path="/nowhere.py")
    for verb, *arguments in (("status",), ("work", "--once"), ("clean",), ("doctor",)):
        process = workspace.run_command(verb, *arguments, code=5)
        assert "'../../evil'" in process.output
    assert not list(workspace.home.rglob("was-run"))
    run_as_forger(
        workspace, rename, name="reviews", path=str(workspace.home / "tasks" / "reviews.py")
    )


def count_uploads(api: Engine) -> int:
    """Return how many requests of uploads arrived."""
    return sum("upload" in request["path"] for request in api.journal())


@pytest.mark.promise("images")
def test_image_outside_the_imported_folders_is_not_sent(workspace: Workspace) -> None:
    """A writer of `assets` chooses no image of another folder until the folder is imported."""
    write_two_images(workspace)
    workspace.task = IMAGES
    workspace.run_command("import_images", "photos")
    private_image = workspace.home / "private" / "letter.png"
    run_sql(workspace, "INSERT INTO assets (path) VALUES (:path)", path=str(private_image))
    workspace.run_command("preflight")
    workspace.run_command("submit")
    assert sent_colours(workspace, 1) == ["blue"]
    assert workspace.state_counts() == {"claimed": 1, "unusable": 1}
    (reason,) = [row["reason"] for row in workspace.exported_rows() if row["state"] == "unusable"]
    assert f"it is outside {workspace.home}/photos; " in reason
    assert "import --task images --from photos/` adds a folder" in reason

    workspace.run_command("import_images", "private")
    workspace.run_command("submit")
    assert sent_colours(workspace, 2) == ["red"]
    workspace.run_command("cancel", 1, yes=True)
    workspace.run_command("cancel", 2, yes=True)


def write_two_images(workspace: Workspace) -> None:
    """Write a blue image that may be sent, and a red image that must not be sent."""
    for name, colour in (("photos/sea", "navy"), ("private/letter", "red")):
        path = workspace.home / f"{name}.png"
        path.parent.mkdir(parents=True)
        image = Image.new("RGB", (60, 40), colour)
        image.paste("white", (0, 0, 30, 20))
        image.save(path)


def sent_colours(workspace: Workspace, number: int) -> list[str]:
    """Return whether each image of a batch is blue or red."""
    colours = []
    path = workspace.data / "batches" / f"{number:06d}-requests.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    for line in lines:
        parts = json.loads(line)["request"]["contents"][0]["parts"]
        encoded = next(part["inlineData"]["data"] for part in parts if "inlineData" in part)
        image = Image.open(io.BytesIO(base64.b64decode(encoded)))
        corner: Any = image.getpixel((59, 39))
        colours.append("red" if corner[0] > corner[2] else "blue")
    return colours


@pytest.mark.alike
@pytest.mark.excused(*FORGED)
@pytest.mark.promise("paths")
def test_task_path_from_the_database_is_not_run(workspace: Workspace) -> None:
    """A path that only the database names is refused; the path that TASK= named is run."""
    workspace.write_file("tasks/reviews.csv", "id,text\n1,I like it.\n")
    declaration = (
        "from askrows import Task\nfrom pydantic import BaseModel\n\n\n"
        "class Answer(BaseModel):\n    mood: str\n\n\n"
        'task = Task(answer=Answer, items="reviews.csv", key="id", prompt="How is {text}?")\n'
    )
    task_path = str(workspace.write_file("tasks/reviews.py", declaration))
    marker = workspace.home / "was-run"
    other_path = workspace.write_file(
        "scripts/reviews.py", f"open({str(marker)!r}, 'w').close()\n" + declaration
    )

    workspace.run_command("try", TASK=task_path)
    workspace.run_command("tag", mode="live", yes=True, TASK=task_path)
    workspace.write_file("tasks/reviews.csv", "id,text\n1,I like it.\n2,I do not.\n")

    run_as_forger(workspace, "UPDATE askrows_tasks SET path = :path", path=str(other_path))
    for verb in ("work", "tag"):
        options = {"once": True} if verb == "work" else {"mode": "live", "yes": True}
        process = workspace.run_command(verb, code=3, TASK="reviews", **options)
        assert f"{other_path} may be from a stranger" in process.output
        assert "ASKROWS_TRUST" in process.output
    assert not marker.exists()

    run_as_forger(workspace, "UPDATE askrows_tasks SET path = :path", path=task_path)
    workspace.run_command("tag", mode="live", yes=True, TASK="reviews")
    assert workspace.state_counts("reviews") == {"answered": 2}
