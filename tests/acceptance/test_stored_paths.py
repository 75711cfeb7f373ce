"""A path in the database or in a manifest reaches only the file that it should name."""

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.acceptance.database import forge
from tests.acceptance.engine import Engine
from tests.acceptance.product import IMAGES, ON_POSTGRESQL, Workspace

SECRET = b'{"key": "expert-tags/1", "request": {"secret": "of another folder"}}\n'
CHAIN = ("submit", "poll", "ingest", "index")
# What no longer holds of a workspace whose records of files were changed.
FORGED = (
    "sealed_files_are_as_sealed",
    "status_adds_up",
    "spend_adds_up",
    "nothing_is_left_to_do",
    "batches_are_made_once",
    "nobody_is_answered_twice",
    "tags_never_change",
)


def secret_below(folder: Path) -> Path:
    """Write a file that no command may read, change or remove, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "secret.jsonl"
    path.write_bytes(SECRET)
    return path


def names_of(workspace: Workspace, secret: Path) -> dict[str, str]:
    """Return names of a secret beside the workspace, and of a file in it that is no batch's."""
    inside = secret_below(workspace.data / "tasks")
    (workspace.data / "tasks" / "linked").symlink_to(secret.parent)
    return {
        "absolute": str(secret),
        "above": f"batches/../../{secret.parent.name}/{secret.name}",
        "linked": f"tasks/linked/{secret.name}",
        "another file": str(inside.relative_to(workspace.data)),
        "with a NUL": "batches/secret\0" if not ON_POSTGRESQL else "batches/secret",
    }


def name_file(workspace: Workspace, kind: str, name: str) -> None:
    """Let batch 1 name another file, with the right hash of the secret."""
    sha256 = hashlib.sha256(SECRET).hexdigest()
    values = f"{kind}_file = :name, {kind}_sha256 = :sha256, {kind}_size = :size"
    forge(
        workspace,
        f"UPDATE findable_batches SET {values}",  # noqa: S608 - ours
        name=name,
        sha256=sha256,
        size=len(SECRET),
    )


def is_untouched(workspace: Workspace, secret: Path) -> bool:
    """Return whether both secrets are as they were, and no copy of them was made."""
    found = [path for path in workspace.home.rglob("*") if path.is_file()]
    holding = [path for path in found if b"of another folder" in path.read_bytes()]
    databases = {path for path in holding if path.name.startswith("findable.db")}
    inside = workspace.data / "tasks" / secret.name
    return {*holding} - databases == {secret, inside}


@pytest.mark.excused(*FORGED)
@pytest.mark.parametrize("kind", ["request", "result"])
def test_no_command_follows_the_path_of_a_batch_that_is_over(
    workspace: Workspace, tmp_path: Path, kind: str
) -> None:
    """Clean, forget, backup and doctor end with 5, show and work leave the file out."""
    names = workspace.people(3)
    workspace.each(*CHAIN)
    secret = secret_below(workspace.home / "theirs")
    for name in names_of(workspace, secret).values():
        name_file(workspace, kind, name)
        for verb, *words in (
            ("clean",),
            ("forget", names[0]),
            ("doctor",),
            *(() if ON_POSTGRESQL else (("backup", tmp_path / "copy"),)),
        ):
            how = {"yes": True} if verb == "forget" else {}
            done = workspace.do(verb, *words, code=5, KEEP_DAYS=0, **how)
            assert f"names the file {name!r}" in done.said
        assert "another folder" not in workspace.do("show", names[0], raw=True).said
        workspace.do("work", once=True)
        assert not (tmp_path / "copy").exists()
        assert is_untouched(workspace, secret)
    assert workspace.states() == {"tagged": 3}


@pytest.mark.excused(*FORGED)
def test_another_file_is_neither_sent_nor_taken_in(workspace: Workspace, api: Engine) -> None:
    """A prepared batch is not sent, a downloaded one not ingested, if it names other files."""
    workspace.people(3)
    secret = secret_below(workspace.home / "theirs")
    workspace.do("work", once=True, only="prepare")
    names = names_of(workspace, secret)
    for name in names.values():
        name_file(workspace, "request", name)
        assert f"names the file {name!r}" in workspace.do("submit", code=5).err
        assert f"names the file {name!r}" in workspace.do("work", once=True, code=5).said
    assert not [one for one in api.journal() if "upload" in one["path"]]

    # The right row again; the batch goes its way until its result is here.
    path = workspace.data / "batches" / "000001-requests.jsonl"
    forge(
        workspace,
        "UPDATE findable_batches SET request_file = :name, request_sha256 = :sha256, "
        "request_size = :size",
        name="batches/000001-requests.jsonl",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        size=path.stat().st_size,
    )
    workspace.each("submit", "poll")
    for name in names.values():
        name_file(workspace, "result", name)
        for verb, *words in (("ingest",), ("poll",), ("cancel", 1)):
            assert f"names the file {name!r}" in workspace.do(verb, *words, code=5).said
    assert is_untouched(workspace, secret)
    assert workspace.states() == {"claimed": 3}


@pytest.mark.excused(*FORGED)
def test_what_is_not_as_it_was_sealed_is_neither_removed_nor_rewritten(
    workspace: Workspace,
) -> None:
    """Clean leaves a changed file and says so; forget waits until it was put back or removed."""
    names = workspace.people(3)
    workspace.each(*CHAIN)
    path = workspace.data / "batches" / "000001-results.jsonl"
    sealed = path.read_bytes()
    path.write_bytes(sealed + SECRET)
    for dry in (True, False):
        clean_run = workspace.do("clean", dry=dry, json=True, KEEP_DAYS=0)
        assert clean_run.json["changed"] == [path.name]
        assert clean_run.json["batches"] == []
        assert "was changed" not in clean_run.out
        assert path.name in clean_run.err
    refused = workspace.do("forget", names[0], yes=True, code=5).err
    assert str(path) in refused
    assert path.read_bytes() == sealed + SECRET
    assert workspace.states() == {"tagged": 3}

    path.write_bytes(sealed)
    workspace.do("forget", names[0], yes=True)
    assert b"expert-tags/1" not in path.read_bytes()
    path.write_bytes(path.read_bytes() + SECRET)
    workspace.do("forget", names[1], yes=True, code=5)
    path.unlink()
    workspace.do("forget", names[1], yes=True)
    assert workspace.states() == {"tagged": 1}


def test_a_manifest_names_files_of_its_own_folder(workspace: Workspace) -> None:
    """A build's manifest that names a file elsewhere is refused (5), with how to build anew."""
    workspace.people(3)
    workspace.each(*CHAIN)
    secret = secret_below(workspace.home / "theirs")
    path = workspace.data / "index" / "current" / "manifest.json"
    file_bytes = path.read_bytes()
    for name in (str(secret), f"../../../../theirs/{secret.name}", "with\0a NUL"):
        document = json.loads(file_bytes)
        document["hashes"][name] = hashlib.sha256(SECRET).hexdigest()
        document["sizes"][name] = len(SECRET)
        path.write_text(json.dumps(document), encoding="utf-8")
        search_run = workspace.do("search", "bees", code=5)
        assert "is not below" in search_run.err
        assert "index" in search_run.err
    path.write_bytes(file_bytes)
    assert len(workspace.found("bees")) == 3


@pytest.mark.skipif(ON_POSTGRESQL, reason="a server copies its databases by its own programs")
def test_a_link_in_a_backup_leads_nowhere(workspace: Workspace, tmp_path: Path) -> None:
    """A backup in which a link or a name leads out of it is not restored (2)."""
    workspace.people(3)
    workspace.each(*CHAIN)
    workspace.do("backup", tmp_path / "copy")
    secret = secret_below(workspace.home / "theirs")
    manifest = tmp_path / "copy" / "manifest.json"
    document = json.loads(manifest.read_bytes())
    (tmp_path / "copy" / "linked").symlink_to(secret.parent)
    for name in (f"linked/{secret.name}", str(secret), f"../here/theirs/{secret.name}"):
        files = {**document["files"], name: hashlib.sha256(SECRET).hexdigest()}
        manifest.write_text(json.dumps({**document, "files": files}), encoding="utf-8")
        how: dict[str, Any] = {"from": tmp_path / "copy", "DATA": tmp_path / "restored"}
        restore_run = workspace.do("restore", code=2, **how)
        assert "is not below" in restore_run.err
        assert not (tmp_path / "restored").exists()


@pytest.mark.excused(*FORGED)
def test_the_name_of_a_task_is_no_path(workspace: Workspace) -> None:
    """A task whose stored name leads out of the workspace is refused (5), and no file is run."""
    workspace.put("tasks/reviews.csv", "id,text\n1,I like it.\n")
    workspace.put(
        "tasks/reviews.py",
        "from findable import Task\nfrom pydantic import BaseModel\n\n\n"
        "class Answer(BaseModel):\n    mood: str\n\n\n"
        'task = Task(answer=Answer, items="reviews.csv", key="id", prompt="How is {text}?")\n',
    )
    workspace.do("tag", mode="live", yes=True, TASK="reviews")
    workspace.put("evil.py", "from pathlib import Path\nPath('was-run').touch()\n")
    (workspace.data / "tasks").mkdir(exist_ok=True)
    renamed = "UPDATE findable_tasks SET name = :name, path = :path"
    forge(workspace, renamed, name="../../evil", path="/nowhere.py")
    for verb, *words in (("status",), ("work", "--once"), ("clean",), ("doctor",)):
        done = workspace.do(verb, *words, code=5)
        assert "'../../evil'" in done.said
    assert not list(workspace.home.rglob("was-run"))
    forge(workspace, renamed, name="reviews", path=str(workspace.home / "tasks" / "reviews.py"))


@pytest.mark.excused(*FORGED)
def test_no_other_image_is_sent_than_the_one_that_was_looked_at(workspace: Workspace) -> None:
    """An image that a changed row names is not sent."""
    write_two_images(workspace)
    workspace.task = IMAGES
    workspace.do("import_images", "photos")
    workspace.do("work", once=True, only="prepare")
    workspace.do("cancel", 1, yes=True)
    old, new = (str(workspace.home / name) for name in ("photos/sea.png", "private/letter.png"))
    forge(
        workspace,
        "UPDATE findable_rows SET row = replace(row, :old, :new)",
        old=old,
        new=new,
    )
    workspace.do("work", once=True, only="prepare")
    assert {*sent_colours(workspace, 1), *sent_colours(workspace, 2)} == {"blue"}


def test_a_folder_that_is_set_bounds_what_the_library_may_name(workspace: Workspace) -> None:
    """With FOLDER= no image elsewhere is sent, whatever path the table of the library has."""
    write_two_images(workspace)
    workspace.task = IMAGES
    workspace.do("import_images", "photos")
    workspace.do("import_images", "private")
    workspace.do("work", once=True, only="prepare", FOLDER=workspace.home / "photos")
    assert sent_colours(workspace, 1) == ["blue"]
    assert workspace.states() == {"claimed": 1, "open": 1}
    workspace.do("cancel", 1, yes=True)


def write_two_images(workspace: Workspace) -> None:
    """Write a blue image that is to be sent, and a red one that is not."""
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
    for line in path.read_bytes().splitlines() if path.exists() else []:
        parts = json.loads(line)["request"]["contents"][0]["parts"]
        data = next(part["inlineData"]["data"] for part in parts if "inlineData" in part)
        corner: Any = Image.open(io.BytesIO(base64.b64decode(data))).getpixel((59, 39))
        colours.append("red" if corner[0] > corner[2] else "blue")
    return colours


@pytest.mark.excused(*FORGED)
def test_only_a_file_that_a_person_named_is_run_as_a_task(workspace: Workspace) -> None:
    """A path of a task that only the database names is not run (3); the one that TASK= named is."""
    workspace.put("tasks/reviews.csv", "id,text\n1,I like it.\n")
    declaration = (
        "from findable import Task\nfrom pydantic import BaseModel\n\n\n"
        "class Answer(BaseModel):\n    mood: str\n\n\n"
        'task = Task(answer=Answer, items="reviews.csv", key="id", prompt="How is {text}?")\n'
    )
    named = str(workspace.put("tasks/reviews.py", declaration))
    marker = workspace.home / "was-run"
    other = workspace.put(
        "scripts/reviews.py", f"open({str(marker)!r}, 'w').close()\n" + declaration
    )
    workspace.do("try", TASK=named)
    workspace.do("tag", mode="live", yes=True, TASK=named)
    workspace.put("tasks/reviews.csv", "id,text\n1,I like it.\n2,I do not.\n")
    forge(workspace, "UPDATE findable_tasks SET path = :path", path=str(other))
    for verb in ("work", "tag"):
        words = {"once": True} if verb == "work" else {"mode": "live", "yes": True}
        done = workspace.do(verb, code=3, TASK="reviews", **words)
        assert f"{other}, may be a stranger's" in done.said
        assert "FINDABLE_TRUST" in done.said
    assert not marker.exists()

    forge(workspace, "UPDATE findable_tasks SET path = :path", path=named)
    workspace.do("tag", mode="live", yes=True, TASK="reviews")
    assert workspace.states("reviews") == {"answered": 2}
