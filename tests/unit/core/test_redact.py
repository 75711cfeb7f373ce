"""Credentials do not reach a log, whichever library writes it."""

import logging

import pytest

from pipeline.core.redact import keep_out_of_logs

KEY = "AIza-a-key-that-is-long-enough-to-be-one"


@pytest.mark.parametrize("name", ["httpx2", "httpcore2.http11", "google_genai.models"])
def test_a_librarys_log_shows_no_key(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the message nor its arguments hold the key, or the URL of an upload session, at any level."""
    keep_out_of_logs(KEY)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger(name).debug("sent with %s to %s", KEY, "http://host/upload?upload_id=secret")
    [record] = caplog.records
    assert record.getMessage() == "sent with *** to http://host/upload?upload_id=***"
