"""What was asked of the server, for tests to assert on: the last requests, without any key in them."""

import re
import threading
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

LIMIT = 10_000
"""How many requests are kept; older ones are forgotten."""


@dataclass
class Entry:
    """One request: what it was (path with query), its answer's status (None: no answer), which faults struck it.

    `at_ns` is when it came by the engine's clock, or when its quota counted it. A call of a model has its name, how
    many requests and input tokens count, and for text a digest of all that was said, the same however it is asked
    again. What was refused has the reason, and the ids of the quotas it would have passed.
    """

    number: int
    method: str
    path: str
    headers: dict[str, str]
    body_sha256: str = ""
    body_length: int = 0
    json: Any = None
    status: int | None = None
    faults: list[dict[str, str]] = field(default_factory=list)
    at_ns: int = 0
    model: str = ""
    requests: int = 0
    tokens: int = 0
    text_sha256: str = ""
    reason: str = ""
    quota_ids: list[str] = field(default_factory=list)


class Journal:
    """The last requests, oldest first."""

    def __init__(self) -> None:
        """Begin empty."""
        self._entries: deque[Entry] = deque(maxlen=LIMIT)
        self._lock = threading.Lock()
        self._count = 0

    def open(self, method: str, path: str, headers: dict[str, str], *, at_ns: int) -> Entry:
        """Add a request and return its entry, to be filled in as it goes on; the number never repeats."""
        shown = {name: "[redacted]" if name == "x-goog-api-key" else value for name, value in headers.items()}
        with self._lock:
            self._count += 1
            entry = Entry(self._count, method, re.sub(r"([?&]key=)[^&]*", r"\1[redacted]", path), shown, at_ns=at_ns)
            self._entries.append(entry)
            return entry

    def document(self) -> dict[str, Any]:
        """Return the journal as a control call shows it."""
        with self._lock:
            return {"requests": [asdict(entry) for entry in self._entries]}

    def clear(self) -> None:
        """Forget all requests; numbers go on."""
        with self._lock:
            self._entries.clear()
