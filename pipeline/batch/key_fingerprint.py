"""Tell the keys that created batches apart, without storing a key.

The fingerprint is an HMAC-SHA-256 of the key, so it is only equal for the same key in the same
workspace.
"""

import hashlib
import hmac
from http import HTTPStatus

from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import RemoteError
from pipeline.core.settings import Settings
from pipeline.store import batches, workspace
from pipeline.store.database import Connection

# 8 bytes: two keys of a user never share a fingerprint, and a key cannot be computed from it.
FINGERPRINT_BYTES = 8


def compute_key_fingerprint(tx: Connection, settings: Settings) -> str | None:
    """Return the fingerprint of the key in use; None without a key and with the local engine.

    It is a hex text that is made with the workspace's id, so it is equal only for the same key in
    the same workspace. The key cannot be computed from it. Nothing is stored.
    """
    workspace_row = workspace.get_workspace(tx)
    backend = workspace_row.backend or settings.effective_backend
    if backend == "local" or settings.api_key is None:
        return None
    key = settings.api_key.reveal().strip().encode()
    digest = hmac.new(workspace_row.workspace_id.encode(), key, hashlib.sha256).digest()
    return digest[:FINGERPRINT_BYTES].hex()


def has_other_key(tx: Connection, number: int, settings: Settings) -> bool:
    """Return whether a batch was created with a key other than the key in use.

    False if either key is not known.
    """
    current_fingerprint = compute_key_fingerprint(tx, settings)
    fingerprint = batches.find_key_fingerprint(tx, number)
    return None not in {current_fingerprint, fingerprint} and fingerprint != current_fingerprint


def is_hidden_by_key(
    tx: Connection,
    number: int,
    settings: Settings,
    error: RemoteError,
) -> bool:
    """Return whether the API refused to show a batch because another key created it."""
    is_hidden = error.code in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
    return is_hidden and has_other_key(tx, number, settings)


def other_key_message(number: int) -> str:
    """Return the message about a batch of another key that the key in use does not see."""
    return f"batch {number} was created with another key"


def other_key_hint(number: int) -> str:
    """Return the next step for a batch of another key that the key in use does not see."""
    cancel = CommandHint("batch-cancel", batch=number)
    return f"set GEMINI_API_KEY to the key that created it, or give up the batch: `{cancel}`"
