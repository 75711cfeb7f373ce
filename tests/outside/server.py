"""A second server of the Gemini API for the tests, written only from the notes on the protocol.

It shares no code with `emulator/` and differs from it in each choice that the notes leave open:

- Ids are UUIDs. Pages are short and begin with the oldest batch.
- Results are in the order of a hash. Replies are chunked or gzipped.
- Times have only the necessary digits. Empty members are left out, and unknown members appear.

Two servers that differ this much reveal assumptions of the product.
"""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.outside.answers import Answerer, Json, fill
from tests.outside.handler import Listener
from tests.outside.keeping import Keeping

# A function from the keys of a batch to the bytes of its result file.
Results = Callable[[Sequence[str]], bytes]


# A function from the replies of a batch, in the order of its requests, to the replies under the
# same keys. A request without a reply has its error.
Mixing = Callable[[list[Json]], list[Json]]


@dataclass
class Troubles:
    """Faults of the server: counts of the next events, or shares of the calls."""

    # Number of create calls whose reply is lost after the batch was created.
    lost_creates: int = 0
    # Number of downloads that end early.
    cut_downloads: int = 0
    # Number of new batches that fail.
    failed_batches: int = 0
    # Number of lists that do not yet show the newest batch.
    unlisted: int = 0
    # Share of the calls that are refused before any work.
    refused: float = 0.0
    # Share of the flex calls that are refused.
    shed: float = 0.0
    # Share of the other flex calls that are served as standard.
    downgraded: float = 0.0
    # Faults of the next decisions, in order; "" is no fault. "503", "429" and "400" refuse the
    # call, "drop" cuts the connection before the decision, and "lost" after it. "blocked" blocks
    # the prompt, and "unknown" gives the first answer a type that no client knows.
    decision_faults: list[str] = field(default_factory=list)
    # Codes of the refused calls.
    codes: tuple[int, ...] = (500, 429, 408)
    seed: int = 1
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        """Create the random generator."""
        self._random = random.Random(self.seed)  # noqa: S311 - no secret

    def strikes(self, name: str) -> bool:
        """Return whether a counted fault happens now, and count it down."""
        with self._lock:
            remaining_count = getattr(self, name)
            setattr(self, name, max(0, remaining_count - 1))
            return bool(remaining_count)

    def befalls(self, name: str) -> bool:
        """Return whether a fault with a share happens now."""
        with self._lock:
            return bool(self._random.random() < getattr(self, name))

    def next_decision_fault(self) -> str:
        """Remove and return the fault of the next decision; "" for no fault."""
        with self._lock:
            return self.decision_faults.pop(0) if self.decision_faults else ""

    def refusal(self) -> int:
        """Return the code of a refused call; 0 if the call is not refused."""
        with self._lock:
            if self._random.random() >= self.refused:
                return 0
            return self._random.choice(self.codes)


# A complete reply: code, headers and body.
Whole = tuple[int, dict[str, str], bytes]
# From "METHOD path" to the reply to send, or None to serve the call.
Instead = Callable[[str], Whole | None]
# From an operation and the bytes of its result to the operation to send.
Operations = Callable[[Json, bytes], Json]
# From the reply to a live call to the reply to send.
Replies = Callable[[Json], Json]


@dataclass
class Outside:
    """The server with its address, its faults, and its record of calls and answers."""

    folder: Path
    answerer: Answerer = fill
    # Results of the batches that end from now on; with None the answerer writes them.
    results: Results | None = None
    # Changes the order of the replies of batches, but not of their keys.
    mixing: Mixing | None = None
    # The duration of new batches.
    pending_s: float = 0.02
    running_s: float = 0.04
    # The final state of batches: SUCCEEDED or EXPIRED.
    ending: str = "SUCCEEDED"
    troubles: Troubles = field(default_factory=Troubles)
    instead: Instead | None = None
    operations: Operations | None = None
    replies: Replies | None = None
    # Changes the replies to decisions.
    decision_replies: Replies | None = None
    # Share of the prompt of each live call that is cached.
    cached_share: float = 0.0
    # Texts that contain these words are not embedded.
    refused_text: str = ""
    # The vectors of texts that contain these words are replaced by a bad vector.
    spoilt_text: str = ""
    bad_vector: Any = None
    # The body of each decision that was answered, oldest first.
    decisions: list[Json] = field(default_factory=list)
    # Models that the project cannot see.
    hidden_models: frozenset[str] = frozenset()
    # Request and serving tier of each live call with a tier.
    tiers: list[tuple[Json, str]] = field(default_factory=list)
    # "METHOD path" of each call since the last start.
    calls: list[str] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        """Start the server."""
        self.come_back()

    @property
    def url(self) -> str:
        """Return the base URL for a client."""
        return f"http://127.0.0.1:{self.port}"

    def die(self) -> None:
        """Stop at once, cut all connections, and refuse new connections."""
        self._http.die()
        self._thread.join()
        self.kept.close()

    def come_back(self) -> None:
        """Start at the same port with the stored state."""
        self.calls.clear()
        self.kept = Keeping(self.folder)
        self._http = Listener(self)
        self.port = self._http.server_port
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def batches(self) -> list[Json]:
        """Return the name of every batch that was ever created, oldest first."""
        return [{"name": f"batches/{batch.name}"} for batch in self.kept.created()]

    def creates(self) -> list[Json]:
        """Return the display name and the request lines of every batch."""
        return [{"name": batch.label, "lines": [*batch.lines]} for batch in self.kept.created()]


@contextlib.contextmanager
def serving(folder: Path, answerer: Answerer = fill, **options: Any) -> Iterator[Outside]:
    """Run a server during a block, with its state in a folder; `options` are other fields."""
    server = Outside(folder, answerer, **options)
    try:
        yield server
    finally:
        server.die()
