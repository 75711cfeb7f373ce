"""A second server of the Gemini API for the tests, written from the notes on the wire alone, apart from `emulator/`.

Where the notes leave freedom it does otherwise than the emulator: ids are UUIDs, pages are short and begin with the
oldest, results come in the order of a hash, replies are chunked or gzipped, times have as many digits as they need,
what is empty is left out, and there are members that are not known. Two servers that agree by chance are no proof; two
that differ wherever they may show what the product takes for granted.
"""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.outside.answers import Answerer, Json, fill
from tests.outside.handler import Listener
from tests.outside.keeping import Keeping
from tests.outside.telling import Manner
from tests.outside.working import Results


@dataclass
class Troubles:
    """What goes wrong, so many times each; a share of all calls is refused before anything is done."""

    lost_creates: int = 0  # replies to creates that never leave: the batch is there
    cut_downloads: int = 0
    failed_batches: int = 0  # those made next
    unlisted: int = 0  # lists of batches that do not show the newest yet
    refused: float = 0.0
    shed: float = (
        0.0  # a share of the calls by flex is refused, and of the others one is served as standard
    )
    downgraded: float = 0.0
    codes: tuple[int, ...] = (500, 429, 408)
    seed: int = 1
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        """Begin to draw."""
        self._random = random.Random(self.seed)  # noqa: S311 - no secret

    def strikes(self, name: str) -> bool:
        """Return whether one of a kind happens now, and count it."""
        with self._lock:
            left = getattr(self, name)
            setattr(self, name, max(0, left - 1))
            return bool(left)

    def befalls(self, name: str) -> bool:
        """Return whether one of a share happens now."""
        with self._lock:
            return bool(self._random.random() < getattr(self, name))

    def refusal(self) -> int:
        """Return the code that a call is refused with; 0 where it is not."""
        with self._lock:
            return self._random.choice(self.codes) if self._random.random() < self.refused else 0


Whole = tuple[int, dict[str, str], bytes]  # a reply as it is sent: code, headers and body
Instead = Callable[
    [str], Whole | None
]  # from "METHOD path" to the reply to send, or None to serve the call
Operations = Callable[
    [Json, bytes], Json
]  # from an operation and the bytes of its result to what is told
Replies = Callable[[Json], Json]  # from the reply to a live call to what is sent


@dataclass
class Outside:
    """The server: where it is, how it speaks, what goes wrong, and what it was asked and answered."""

    folder: Path
    answerer: Answerer = fill
    results: Results | None = (
        None  # of each batch whose time comes from now on, in the place of answers
    )
    manner: Manner = field(default_factory=Manner)
    troubles: Troubles = field(default_factory=Troubles)
    instead: Instead | None = None
    operations: Operations | None = None
    replies: Replies | None = None
    cached_share: float = 0.0  # of the prompt of each live call
    refused_text: str = ""  # a text with these words in it is not embedded
    hidden_models: frozenset[str] = frozenset()  # models that the project is not shown
    tiers: list[tuple[Json, str]] = field(
        default_factory=list
    )  # of live calls with a tier: what was asked, who served
    calls: list[str] = field(default_factory=list)  # since it last came back: "METHOD path"
    port: int = 0

    def __post_init__(self) -> None:
        """Begin to serve."""
        self.come_back()

    @property
    def url(self) -> str:
        """Return the base URL for a client."""
        return f"http://127.0.0.1:{self.port}"

    def die(self) -> None:
        """End at once: what is connected is cut off, and connections are refused from now on."""
        self._http.die()
        self._thread.join()
        self.kept.close()

    def come_back(self) -> None:
        """Serve again at the same port, with all that was kept."""
        self.calls.clear()
        self.kept = Keeping(self.folder)
        self._http = Listener(self)
        self.port = self._http.server_port
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def batches(self) -> list[Json]:
        """Return every batch that was ever made by its name, oldest first."""
        return [{"name": f"batches/{batch.name}"} for batch in self.kept.created()]

    def creates(self) -> list[Json]:
        """Return the display name and the request lines of each of them."""
        return [{"name": batch.label, "lines": [*batch.lines]} for batch in self.kept.created()]

    def check_once(self) -> None:
        """Hold that no batch was made twice, and that each key was answered once, and asked again only if refused.

        What stood in a batch that failed or was cancelled as a whole was not asked.

        Raises:
            AssertionError: it was not so.
        """
        labels = [batch.label for batch in self.kept.created()]
        assert len(set(labels)) == len(labels), f"made twice: {labels}"
        asked = self.kept.asked() - self.kept.answered(refused=True)
        answered = self.kept.answered()
        assert set(answered.values()) <= {1}, (
            f"answered twice: {[key for key, count in answered.items() if count > 1]}"
        )
        assert answered == asked, f"asked and not answered: {asked - answered}"
        assert set(self.kept.questions().values()) <= {1}, (
            "one question was answered twice, live or with a batch"
        )


@contextlib.contextmanager
def serving(folder: Path, answerer: Answerer = fill, **manner: Any) -> Iterator[Outside]:
    """Run a server for the length of a block, with what is kept in a folder; `manner` as `Manner` has it."""
    server = Outside(folder, answerer, manner=Manner(**manner))
    try:
        yield server
    finally:
        server.die()
