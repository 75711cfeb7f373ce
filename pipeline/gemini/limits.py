"""The API's limits with their sources, and the moment at which a request file is full.

Numbers are Google's unless their comment says that they are ours; ours stay below Google's on purpose.
"""

from dataclasses import dataclass

MAX_FILE_BYTES = 2 * 1000**3  # one uploaded file, 2 GB (Files API guide, read 2026-11; decimal to be on the safe side)
MAX_STORED_BYTES = 20 * 1000**3  # all uploads of a project, 20 GB (Files API guide, read 2026-11)
MAX_ACTIVE_BATCHES = 100  # of one project at the same time (rate limits page, copy of 2026-01)
MAX_DISPLAY_NAME = 512  # characters (Files API reference, read 2026-11)
MAX_EMBED_TEXTS = 100  # texts in one embedding call (customary and refused above, read 2026-11)
LIST_PAGE_SIZE = 100  # the most a page may hold; without a page size the list has come back empty (2025-08)

SHARD_BYTES = 1_000_000_000  # ours: half of what one file may have, so that no estimate of a line can overshoot
SHARD_ROWS = 100_000  # ours: no limit is documented; a file of this size is retried and ingested in minutes
SHARD_TOKENS = 2_500_000  # ours: below the smallest enqueued-token limit of tier 1, 3 M (rate limits page, 2026-01)


@dataclass
class Shard:
    """How full one request file is: rows, bytes and estimated prompt tokens against their limits."""

    max_rows: int = SHARD_ROWS
    max_bytes: int = SHARD_BYTES
    max_tokens: int = SHARD_TOKENS
    rows: int = 0
    size: int = 0
    tokens: int = 0

    def __post_init__(self) -> None:
        """Refuse limits that no line could ever keep, and file sizes that Google would refuse."""
        if min(self.max_rows, self.max_bytes, self.max_tokens) < 1:
            raise ValueError("the limits of a request file must be 1 or more")
        self.max_bytes = min(self.max_bytes, MAX_FILE_BYTES)

    def has_room(self, *, size: int, tokens: int) -> bool:
        """Return whether one more line of `size` bytes (line end included) fits; an empty file takes any one line."""
        if self.rows == 0:
            return size <= MAX_FILE_BYTES
        return (
            self.rows < self.max_rows and self.size + size <= self.max_bytes and self.tokens + tokens <= self.max_tokens
        )

    def add(self, *, size: int, tokens: int) -> None:
        """Count one line that was written."""
        self.rows += 1
        self.size += size
        self.tokens += tokens
