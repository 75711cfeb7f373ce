"""Images in requests over plain HTTP: inside the request and as files, live and in a batch, and what is refused."""

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image

from tests.integration.emulator.caller import MODEL, Caller, by_key

STRING = {"type": "STRING"}
WORDS = {"type": "ARRAY", "items": STRING}
SCHEMA = {
    "type": "OBJECT",
    "properties": {
        "summary": STRING,
        "colours": WORDS,
        "objects": WORDS,
        "width": {"type": "INTEGER"},
    },
}


def _png(colour: str, size: tuple[int, int] = (60, 40)) -> bytes:
    """Return a PNG of one colour."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def _inline(data: bytes, mime_type: str = "image/png") -> dict[str, Any]:
    return {"inlineData": {"mimeType": mime_type, "data": base64.urlsafe_b64encode(data).decode().rstrip("=")}}


def _request(*parts: dict[str, Any], resolution: str = "") -> dict[str, Any]:
    """Return a request about some images."""
    config: dict[str, Any] = {"responseSchema": SCHEMA}
    config |= {"mediaResolution": resolution} if resolution else {}
    return {"contents": [{"role": "user", "parts": [{"text": "Describe it."}, *parts]}], "generationConfig": config}


def _told(response: dict[str, Any]) -> dict[str, Any]:
    """Return the document of an answer."""
    document: dict[str, Any] = json.loads(response["candidates"][0]["content"]["parts"][0]["text"])
    return document


def test_an_image_is_measured_and_not_seen(guest: Caller) -> None:
    """Values are measures, a summary says that nothing was seen, and lists of things stay empty."""
    asked = _request(_inline(_png("navy")))
    response = guest.post(f"/v1beta/models/{MODEL}:generateContent", asked)
    told = _told(response)
    assert told["summary"].startswith("Not seen")
    assert (told["colours"], told["objects"], told["width"]) == (["blue"], [], 60)
    assert response["modelVersion"] == "findable-local-stand-in-1"
    assert guest.post(f"/v1beta/models/{MODEL}:generateContent", asked) == response


@pytest.mark.parametrize(
    ("model", "resolution", "side", "tokens"),
    [
        ("gemini-3.5-flash", "", 60, 1_120),
        ("gemini-3.5-flash", "MEDIA_RESOLUTION_LOW", 60, 280),
        ("gemini-2.5-flash", "", 60, 258),
        ("gemini-2.5-flash", "", 1_000, 4 * 258),
        ("gemini-2.5-flash", "MEDIA_RESOLUTION_MEDIUM", 1_000, 256),
    ],
)
def test_an_image_counts_by_model_and_resolution(
    guest: Caller, model: str, resolution: str, side: int, tokens: int
) -> None:
    """A reply's usage and `countTokens` agree, and tell images apart from text."""
    asked = _request(_inline(_png("red", (side, side))), resolution=resolution)
    usage = guest.post(f"/v1beta/models/{model}:generateContent", asked)["usageMetadata"]
    assert {one["modality"]: one["tokenCount"] for one in usage["promptTokensDetails"]} == {"TEXT": 3, "IMAGE": tokens}
    counted = guest.post(
        f"/v1beta/models/{model}:countTokens", {"generateContentRequest": asked | {"model": f"models/{model}"}}
    )
    assert counted["totalTokens"] == usage["promptTokenCount"] == 3 + tokens


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (_inline(b"<svg/>", "image/svg+xml"), "Unsupported MIME type"),
        (_inline(_png("red")[:60]), "Unable to process input image"),
        (_inline(b""), "Unable to process input image"),
        ({"fileData": {"fileUri": "https://example.org/a.png", "mimeType": "image/png"}}, "Cannot fetch content"),
    ],
)
def test_what_is_no_image_is_refused(guest: Caller, part: dict[str, Any], message: str) -> None:
    """A foreign type, cut bytes, none, and an address elsewhere are each a 400 that says so."""
    error = guest.refused(f"/v1beta/models/{MODEL}:generateContent", _request(part))
    assert (error["code"], error["message"].startswith(message)) == (400, True)


def test_a_batch_reads_files_when_it_runs(caller: Caller) -> None:
    """A file is looked for when its line is answered: one that expired or never was refuses that line alone."""
    session = caller.start_upload(len(_png("red")), described={"mimeType": "image/png"})
    old = caller.chunk(session, _png("red")).json()["file"]["uri"]
    caller.post("/_emu/settings", {"paused": True})
    caller.post("/_emu/clock", {"advance_seconds": 3_600})
    new = caller.chunk(caller.start_upload(len(_png("lime"))), _png("lime")).json()["file"]["uri"]
    parts = {
        "inline": _inline(_png("navy")),
        "old": {"fileData": {"fileUri": old}},
        "new": {"fileData": {"fileUri": new, "mimeType": "image/png"}},
        "none": {"file_data": {"file_uri": new[:-3] + "xyz", "mime_type": "image/png"}},
        "elsewhere": {"fileData": {"fileUri": "gs://bucket/a.png", "mimeType": "image/png"}},
    }
    lines = [json.dumps({"key": key, "request": _request(part)}) for key, part in parts.items()]
    batch = caller.create("".join(f"{line}\n" for line in lines).encode())
    caller.post("/_emu/clock", {"advance_seconds": 47.5 * 3_600})
    caller.post("/_emu/settings", {"paused": False})
    found = by_key(caller.results(caller.wait(batch["name"])))
    assert {key: line["error"]["code"] for key, line in found.items() if "error" in line} == {"old": 7, "none": 7}
    told = {key: _told(line["response"]) for key, line in found.items() if "response" in line}
    assert (told["inline"]["colours"], told["new"]["colours"]) == (["blue"], ["green"])
    assert "not opened" in told["elsewhere"]["summary"]
