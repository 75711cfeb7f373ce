"""The control paths: what the journal tells, and what they refuse."""

import hashlib

import pytest

from tests.integration.emulator.caller import Caller


def test_the_journal_tells_what_was_asked(guest: Caller) -> None:
    """An entry has the method, path and query, headers without the key, the body's digest and the status."""
    guest.get("/v1/files?pageSize=3")
    data = b"x" * 100_000
    guest.upload(data)
    listed, start, chunk = guest.journal()
    assert (listed["method"], listed["path"], listed["status"]) == ("GET", "/v1/files?pageSize=3", 200)
    assert listed["headers"]["x-goog-api-key"] == "[redacted]"
    assert start["json"] == {"file": {}}
    assert (chunk["body_length"], chunk["body_sha256"]) == (100_000, hashlib.sha256(data).hexdigest())
    assert listed["number"] < start["number"] < chunk["number"]


def test_a_request_without_an_answer_has_no_status(guest: Caller) -> None:
    """A request that was dropped is in the journal with no status and its fault."""
    guest.script("drop")
    with pytest.raises(Exception, match="disconnected"):
        guest.http.get("/v1/files")
    [entry] = guest.journal()
    assert entry["status"] is None
    assert entry["faults"][0]["code"] == "F02"


def test_faults_never_strike_the_control_paths(guest: Caller) -> None:
    """Even a fault about every path leaves the controls alone, so that it can be taken back."""
    guest.script("status", match={"path": ""}, times=None)
    assert guest.http.get("/v1/files").status_code == 503
    assert guest.faults()["faults"][0]["fired"] == 1
    assert guest.http.delete("/_emu/faults").status_code == 200
    assert guest.http.get("/v1/files").status_code == 200
