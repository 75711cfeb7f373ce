"""Images that are too large for a request: uploaded once, named in requests, deleted when nothing needs them."""

import io
from datetime import timedelta

import pytest
from PIL import Image

from pipeline.gemini.client import Client
from pipeline.gemini.transfers import Upload
from tests.lab import Api, Workspace, ran
from tests.own.test_images import ROUND, asked, counts, put, put_images, saved

UPLOADS = "SELECT state, count(*) FROM findable_uploads GROUP BY state"


def noise() -> bytes:
    """Return the file of an image that has some 100,000 bytes as it is sent."""
    out = io.BytesIO()
    Image.effect_noise((400, 400), 100).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(autouse=True)
def _tiny(workspace: Workspace) -> None:
    workspace.environ |= {"FINDABLE_INLINE_MAX": "1KB", "FINDABLE_ASK_EACH": "1"}


def test_an_image_is_uploaded_once_for_all_that_ask_about_it(workspace: Workspace) -> None:
    """Live and in a batch; rows with one image and other prompts name one upload, which is deleted after both."""
    rows = put_images(red=saved("red"), blue=saved("blue"), again=saved("red"))
    put(workspace, {**rows, "third": "red.jpg"})
    workspace.ran("tag-live", LIMIT="1")
    assert dict(workspace.query(UPLOADS)) == {"dropped": 1}
    workspace.ran_each(*ROUND[:1])
    assert dict(workspace.query(UPLOADS)) == {"dropped": 1, "uploaded": 2}
    parts = [line["request"]["contents"][0]["parts"][0] for line in asked(workspace)]
    assert all("/files/" in part["fileData"]["fileUri"] for part in parts)
    workspace.ran_each(*ROUND[1:])
    assert counts(workspace) == {"answered": 4}
    assert dict(workspace.query(UPLOADS)) == {"dropped": 3}


def held_at_create(workspace: Workspace, api: Api, *, hours: int) -> None:
    """Prepare a batch of two images, which is refused for a quota; then its uploads are so old."""
    put(workspace, put_images(red=saved("red"), blue=saved("blue")))
    api.fault("quota_batch")
    workspace.ran("batch-submit", code=4)
    assert dict(workspace.query(UPLOADS)) == {"uploaded": 2}
    with workspace.open() as ws:
        at = ws.now() - timedelta(hours=hours)
    workspace.change("UPDATE findable_uploads SET uploaded_at = :at", at=at.isoformat(" "))


def test_a_batch_whose_images_are_too_old_is_prepared_anew(workspace: Workspace, api: Api) -> None:
    """Its request file is never rewritten, its items are let go uncharged, and are asked once in a new batch."""
    held_at_create(workspace, api, hours=21)
    assert "go out anew" in ran(workspace, "batch-submit")
    assert dict(workspace.query(UPLOADS)) == {"dropped": 2, "uploaded": 2}
    workspace.ran_each(*ROUND[1:])
    assert dict(workspace.query("SELECT number, state FROM findable_batches")) == {1: "failed", 2: "ingested"}
    assert counts(workspace) == {"answered": 2}
    assert not workspace.scalar("SELECT count(*) FROM findable_attempts")
    assert len(api.batches()) == 1


@pytest.mark.full
def test_a_line_whose_image_expired_costs_its_item_nothing(workspace: Workspace, api: Api) -> None:
    """The API forgot the uploads before the batch ran: they are uploaded anew, and the items asked again."""
    held_at_create(workspace, api, hours=0)
    api.configure(paused=True)
    api.advance(30 * 3600)
    workspace.ran("batch-submit")
    api.advance(20 * 3600)
    api.configure(paused=False)
    workspace.ran_each(*ROUND[1:])
    reasons = workspace.query("SELECT reason, charged FROM findable_attempts")
    assert [(reason, bool(charged)) for reason, charged in reasons] == [("file-gone", False)] * 2
    assert dict(workspace.query(UPLOADS)) == {"dropped": 2}
    workspace.ran_each(*ROUND)
    assert counts(workspace) == {"answered": 2}


@pytest.mark.full
def test_a_live_call_whose_image_is_gone_uploads_it_anew(workspace: Workspace, api: Api) -> None:
    """The item is charged nothing; the prepared batch that needs the same image goes out anew, too."""
    held_at_create(workspace, api, hours=0)
    api.advance(49 * 3600)
    put(workspace, put_images(red=saved("red"), blue=saved("blue"), again=saved("red")))
    workspace.ran("tag-live")
    assert counts(workspace) == {"answered": 1, "claimed": 2}
    assert "go out anew" in ran(workspace, "batch-submit")
    workspace.ran_each(*ROUND[1:], *ROUND)
    assert counts(workspace) == {"answered": 3}
    assert not workspace.scalar("SELECT count(*) FROM findable_attempts WHERE charged")


@pytest.mark.sampled(3, sqlite=3)
@pytest.mark.parametrize(
    ("fault", "args", "is_its_own"),
    [("status", {"code": 400}, False), ("status", {"code": 413}, True), ("file_failed", {}, True)],
)
def test_an_upload_that_is_refused_is_charged_where_it_is_for_the_image(
    workspace: Workspace, api: Api, fault: str, args: dict[str, int], *, is_its_own: bool
) -> None:
    """It is not where any image would be refused so; then the next run asks again."""
    put(workspace, put_images(red=saved("red"), blue=saved("blue")))
    path = "upload_id=" if fault == "file_failed" else "/upload/[^?]*$"
    api.fault(fault, nth=2, times=1_000, path=path, args=args)
    workspace.ran("tag-live", CONCURRENCY="1", RETRY_FOR="0")
    assert counts(workspace) == {"answered": 1, "parked" if is_its_own else "open": 1}
    charged = workspace.query("SELECT charged FROM findable_attempts")
    assert [bool(one) for (one,) in charged] == ([True] * 2 if is_its_own else [False])


def images_there(workspace: Workspace) -> list[str]:
    """Return the display names of the images that are at the API."""
    with workspace.open() as ws:
        return sorted(one.display_name for one in ws.client.list_files() if "-image-" in one.display_name)


def test_two_that_upload_one_image_use_one_and_what_the_other_left_is_deleted_by_name(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One stands still past its lease when all bytes are there, and another one uploads the same image meanwhile."""
    put(workspace, put_images(red=saved("red"), again=saved("red")))
    upload, overtaken = Client.upload_image, list[str]()

    def upload_slowly(client: Client, data: bytes, **told: str) -> Upload:
        done = upload(client, data, **told)
        if not overtaken:
            overtaken.append(told["display_name"])
            workspace.change("UPDATE findable_leases SET until = '2026-01-01 00:00:00+00:00'")
            workspace.ran("tag-live", LIMIT="1")
        return done

    monkeypatch.setattr(Client, "upload_image", upload_slowly)
    workspace.ran_each(*ROUND)
    assert counts(workspace) == {"answered": 2}
    assert workspace.scalar("SELECT count(*) FROM findable_answers") == 2
    assert not workspace.query("SELECT * FROM findable_attempts")
    assert set(dict(workspace.query(UPLOADS))) == {"dropped"}
    assert images_there(workspace) == overtaken
    workspace.ran("clean")
    assert images_there(workspace) == []


@pytest.mark.parametrize("way", ["batch-submit", "tag-live"])
def test_no_image_goes_where_there_is_no_room_for_it(workspace: Workspace, api: Api, way: str) -> None:
    """At most four fifths of what the API stores is taken; what finds no room is not asked, and costs nothing."""
    put(workspace, put_images(red=saved("red")))
    api.fault("quota_batch")
    workspace.ran("batch-submit", code=4)
    workspace.change("UPDATE findable_uploads SET size = 16000000000 - 20000")
    put(workspace, put_images(red=saved("red"), noise=noise()))
    said = ran(workspace, way, code=4, CONCURRENCY="1")
    assert "16,000,000,000 bytes of uploads" in said
    assert counts(workspace) == {"claimed": 1, "open": 1}
    assert not workspace.query("SELECT * FROM findable_attempts WHERE charged")
    assert not workspace.scalar("SELECT count(*) FROM findable_calls WHERE outcome = 'lost'")
    workspace.change("UPDATE findable_uploads SET size = 16000000000 - 200000")
    workspace.ran(way, CONCURRENCY="1")
    assert dict(workspace.query(UPLOADS))["uploaded"] == 1 + (way == "batch-submit")
