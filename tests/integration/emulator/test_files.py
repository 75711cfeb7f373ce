"""Uploads and files over plain HTTP: every command, every refusal, and what a file resource says."""

import base64
import hashlib
import socket
from urllib.parse import urlsplit

from tests.integration.emulator.caller import Caller, request_file

MIB = 1024 * 1024


def test_a_file_says_all_that_the_api_says(guest: Caller) -> None:
    """A file resource echoes type and name, has nine-digit times and expires after 48 hours."""
    described = {"display_name": "people", "mime_type": "jsonl", "name": "files/my-people", "size_bytes": 3}
    guest.chunk(guest.start_upload(3, described=described), b"abc")
    file = guest.get("/v1/files/my-people")
    assert (file["name"], file["displayName"], file["mimeType"]) == ("files/my-people", "people", "jsonl")
    assert (file["state"], file["source"]) == ("ACTIVE", "UPLOADED")
    assert file["uri"] == f"{guest.url}/v1/files/my-people"
    assert len(file["createTime"].partition(".")[2]) == 10
    assert file["createTime"].endswith("Z")
    assert file["createTime"] < file["expirationTime"]
    guest.http.delete("/v1/files/my-people")


def test_a_result_can_be_downloaded_by_both_paths_but_not_got_or_deleted(guest: Caller) -> None:
    """A result's id is over 40 characters: get and delete refuse it with 400, both downloads serve it."""
    operation = guest.wait(guest.create(request_file(3))["name"])
    name = operation["response"]["responsesFile"]
    assert len(name.removeprefix("files/")) == 42
    for method in ("GET", "DELETE"):
        error = guest.refused(f"/v1/{name}", None, method=method)
        assert "cannot be more than 40 characters" in error["message"]
    plain = guest.http.get(f"/v1/{name}:download?alt=media")
    other = guest.http.get(f"/download/v1alpha/{name}:download?alt=media")
    assert plain.content == other.content
    assert plain.headers["content-length"] == str(len(plain.content))
    assert plain.content.count(b"\n") == 3


def test_a_chunk_that_breaks_off_leaves_the_upload_where_it_was(guest: Caller) -> None:
    """Half a chunk and a lost connection: the upload stands where it stood, and the chunk can be sent again."""
    session = guest.start_upload(6)
    address = urlsplit(session)
    head = (
        f"POST {address.path}?{address.query} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 6\r\n"
        "X-Goog-Upload-Command: upload, finalize\r\nX-Goog-Upload-Offset: 0\r\n\r\n"
    )
    with socket.create_connection((str(address.hostname), address.port or 80)) as connection:
        connection.sendall(head.encode() + b"abc")
    assert guest.chunk(session, b"", command="query").headers["x-goog-upload-size-received"] == "0"
    assert guest.chunk(session, b"ABCDEF").json()["file"]["sizeBytes"] == "6"


def test_an_upload_goes_on_where_it_stands(guest: Caller) -> None:
    """A wrong offset is a 400 and changes nothing; `query` tells the bytes, `finalize` ends, `cancel` is for good."""
    session = guest.start_upload(6)
    guest.chunk(session, b"abc", command="upload")
    assert guest.chunk(session, b"def", offset=2).status_code == 400
    assert guest.chunk(session, b"", command="query").headers["x-goog-upload-size-received"] == "3"
    guest.chunk(session, b"def", offset=3, command="upload")
    assert guest.chunk(session, b"", command="finalize").json()["file"]["sizeBytes"] == "6"
    assert guest.chunk(guest.start_upload(6), b"abc").status_code == 400
    session = guest.start_upload(3)
    assert guest.chunk(session, b"", command="cancel").headers["x-goog-upload-status"] == "cancelled"
    assert guest.chunk(session, b"abc").status_code == 404


def test_a_file_is_its_owners_and_gone_when_deleted(guest: Caller) -> None:
    """Another key's file, and a deleted one, are a 403; an upload cannot be downloaded; no path, no file: 404."""
    name = guest.upload(b"abc")
    with Caller(guest.url, key="somebody-else") as other:
        assert other.refused(f"/v1/{name}", None, method="GET")["code"] == 403
    assert guest.refused(f"/v1/{name}:download?alt=media", None, method="GET")["code"] == 400
    assert guest.http.delete(f"/v1/{name}").json() == {}
    assert guest.refused(f"/v1/{name}", None, method="GET")["status"] == "PERMISSION_DENIED"
    assert guest.refused("/v9/files", None, method="GET")["code"] == 404
    assert guest.refused("/v1/nothing", None, method="GET")["code"] == 404


def test_an_upload_needs_a_key_and_a_name_of_its_own(guest: Caller) -> None:
    """A name against Google's rule is a 400, a taken one a 409, a start without a key a 403; a chunk needs none."""
    headers = {"X-Goog-Upload-Command": "start"}
    guest.chunk(guest.start_upload(3, described={"name": "files/twice"}), b"abc")
    for name, status in (("UPPER", 400), ("-dash", 400), ("a" * 41, 400), ("../x", 400), ("twice", 409)):
        reply = guest.http.post("/upload/v1/files", headers=headers, json={"file": {"name": f"files/{name}"}})
        assert reply.status_code == status
    session = guest.start_upload(3)
    del guest.http.headers["x-goog-api-key"]
    assert guest.chunk(session, b"abc").status_code == 200
    assert guest.http.post("/upload/v1beta/files", headers=headers, json={}).status_code == 403


def test_an_upload_in_chunks_arrives_whole(guest: Caller) -> None:
    """An upload sent as the SDK sends it has the size and the digest of what was sent; so has an empty one."""
    data = bytes(range(256)) * (8 * MIB // 256) + b"x" * 5
    session = guest.start_upload(len(data))
    reply = guest.chunk(session, data[: 8 * MIB], command="upload")
    assert (reply.status_code, reply.headers["x-goog-upload-status"]) == (200, "active")
    assert reply.headers["x-goog-upload-size-received"] == str(8 * MIB)
    reply = guest.chunk(session, data[8 * MIB :], offset=8 * MIB)
    assert reply.headers["x-goog-upload-status"] == "final"
    file = reply.json()["file"]
    assert file["sizeBytes"] == str(len(data))
    assert base64.b64decode(file["sha256Hash"]).decode() == hashlib.sha256(data).hexdigest()
    assert guest.chunk(guest.start_upload(0), b"").json()["file"]["sizeBytes"] == "0"
