"""What differs between providers besides their calls: names, limits, and what they have.

Other packages take these values from here, so they know no provider by its name. The local engine
speaks Gemini's protocol and has its limits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from askrows.pipeline.core.settings import GOOGLE_URL, OPENAI_URL
from askrows.pipeline.core.states import STANDARD, Mode


@dataclass(frozen=True, kw_only=True)
class Provider:
    """A provider of models: its name in messages, its limits, and what it has."""

    # The name in messages, and that of the company whose service it is.
    name: str
    company: str
    # Whose calls it takes: the value of `Model.provider`.
    protocol: str
    # The variables of its key and of its address, and its own address.
    key_variable: str
    address_variable: str
    own_address: str
    # The time zone of the day of its daily quotas, and its name.
    timezone: tzinfo
    timezone_name: str
    # The largest request file, in bytes on the wire.
    max_file_bytes: int
    # Requests in a batch, and batches at the same time; None means that there is no such limit.
    max_batch_requests: int | None
    max_active_batches: int
    # It aims to end a batch after the first time, and ends each batch after the second.
    target_batch_age: timedelta
    max_batch_age: timedelta
    # An uploaded file is kept this long, and is used again for a shorter time.
    file_age: timedelta
    file_reuse_time: timedelta
    # Texts, and bytes, of an embedding call; embedding calls at once.
    max_embed_texts: int
    max_embed_bytes: int
    parallel_embedding_calls: int
    # USD that an account may spend in a month, by usage tier; the cap of another tier is unknown.
    monthly_spending_caps: Mapping[str, float] = field(default_factory=dict)
    has_batches: bool = True
    has_embeddings: bool = True
    has_decisions: bool = True

    def offers(self, mode: Mode) -> bool:
        """Return whether the provider has a mode. Without batches it has only standard calls."""
        if mode is Mode.DECIDE:
            return self.has_decisions
        return self.has_batches or mode.facts.tier == STANDARD

    @property
    def name_with_company(self) -> str:
        """Return the name with that of its company."""
        if self.name == self.company:
            return self.name
        return f"{self.company}'s {self.name}"

    @property
    def file_age_text(self) -> str:
        """Return how long an uploaded file is kept, in words."""
        return f"{self.file_age.days} days"

    def quota_day(self, now: datetime) -> date:
        """Return the day of the daily quotas, and of daily budgets, to which a time belongs."""
        return now.astimezone(self.timezone).date()

    def start_of_day(self, day: date) -> datetime:
        """Return the time at which a day of the quotas begins, in UTC."""
        return datetime.combine(day, time(), self.timezone).astimezone(UTC)

    def next_reset(self, now: datetime) -> datetime:
        """Return the next reset of daily quotas, in UTC; a change of the clock is respected."""
        return self.start_of_day(self.quota_day(now) + timedelta(days=1))


GEMINI = Provider(
    name="Gemini",
    company="Google",
    protocol="gemini",
    key_variable="GEMINI_API_KEY",
    address_variable="GOOGLE_GEMINI_BASE_URL",
    own_address=GOOGLE_URL,
    # Daily quotas are reset at midnight there (rate limits page, read 2026-11).
    timezone=ZoneInfo("America/Los_Angeles"),
    timezone_name="US/Pacific",
    # 2 GB (Files API guide, read 2026-11). The decimal unit is safe.
    max_file_bytes=2 * 1000**3,
    max_batch_requests=None,
    # Batches of a project at the same time (rate limits page, copy of 2026-01).
    max_active_batches=100,
    # Batch API guide, read 2026-11.
    target_batch_age=timedelta(hours=24),
    max_batch_age=timedelta(hours=48),
    # The API keeps a file for 48 hours.
    file_age=timedelta(days=2),
    file_reuse_time=timedelta(hours=40),
    # A call may take 1 to 15 minutes (pricing announcement of 2026-04).
    # All projects of a billing account together (billing page, read 2026-11-26).
    monthly_spending_caps={"1": 250.0, "2": 2_000.0, "3": 20_000.0},
    # This is customary, and the API refuses more (read 2026-11).
    max_embed_texts=100,
    # The API refuses more than 4,194,304 (its message, seen 2026-11); our own limit is 5 % lower.
    max_embed_bytes=4_000_000,
    parallel_embedding_calls=4,
)
# Limits: Batch API guide, files and embeddings references, read 2025-09.
OPENAI = Provider(
    name="OpenAI",
    company="OpenAI",
    protocol="openai",
    key_variable="OPENAI_API_KEY",
    address_variable="OPENAI_BASE_URL",
    own_address=OPENAI_URL,
    timezone=UTC,
    timezone_name="UTC",
    # 200 MB. The decimal unit is safe.
    max_file_bytes=200 * 1000**2,
    max_batch_requests=50_000,
    # No limit is published; this is our own.
    max_active_batches=100,
    target_batch_age=timedelta(hours=24),
    max_batch_age=timedelta(hours=24),
    file_age=timedelta(days=30),
    file_reuse_time=timedelta(days=7),
    # Flex processing guide, read 2025-09.
    max_embed_texts=2_048,
    # A call has at most 300,000 tokens, which are at least as many bytes.
    max_embed_bytes=300_000,
    parallel_embedding_calls=4,
    has_decisions=False,
)
# A server of one's own speaks OpenAI's protocol, and has live calls only.
OWN_SERVER = replace(
    OPENAI,
    name="your server",
    company="your server",
    has_batches=False,
    has_embeddings=False,
)
LOCAL_ENGINE = replace(GEMINI, parallel_embedding_calls=2)
_PROVIDERS = {"gemini": GEMINI, "local": LOCAL_ENGINE, "openai": OPENAI, "server": OWN_SERVER}


def find_provider(backend: str | None) -> Provider:
    """Return the provider of a backend; a workspace without one is described as Gemini's."""
    return _PROVIDERS[backend or "gemini"]
