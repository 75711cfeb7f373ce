"""Learn how many tokens the API really lets a model queue.

Gemini documents a limit of queued tokens per model and tier, but refuses batches far below it at
times. The limit is computed from the recorded create calls of a model and a key, so nothing else is
stored:

- A refusal below the limit lowers the limit to the tokens that were queued without the batch, but
  at least to half of the tokens that would have been queued.
- A batch that is accepted near the limit raises the limit again, up to the documented limit.
- Refusals older than LEARNING_WINDOW are forgotten.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from pipeline.batch.key_fingerprint import compute_key_fingerprint
from pipeline.core.settings import Settings
from pipeline.gemini.models import Model
from pipeline.store import batches
from pipeline.store.batches import CreateTry
from pipeline.store.database import Connection

# Our choice: quotas of a project change within days, for example with its tier.
LEARNING_WINDOW = timedelta(days=7)
# Our choice: after a success, the limit is this many times the tokens that were queued.
SUCCESS_GROWTH = 1.25
# Our choice: the limit is never lower than this share of the documented limit, because other
# causes can refuse batches, too.
MIN_LIMIT_SHARE = 0.01


class QueueLimit(NamedTuple):
    """How many prompt tokens may be queued for a model. None means unlimited."""

    # The limit to use.
    tokens: int | None
    # The documented limit.
    documented_tokens: int | None

    @property
    def is_learnt(self) -> bool:
        """Return whether refusals lowered the limit."""
        return self.tokens != self.documented_tokens

    def describe(self) -> str:
        """Return the limit in words, as the end of a sentence that begins with "the API"."""
        if not self.is_learnt:
            return f"accepts {self.tokens:,}"
        return (
            f"accepted about {self.tokens:,} lately, although {self.documented_tokens:,} "
            "are documented"
        )


def read_queue_limit(
    tx: Connection,
    model: Model,
    settings: Settings,
    *,
    now: datetime,
) -> QueueLimit:
    """Return how many prompt tokens may be queued for a model with the key in use.

    It is the documented limit of the model and the tier. If the API refused a batch within the last
    LEARNING_WINDOW, because too many tokens were queued, it is the limit that `learn_limit`
    computes. A model without a documented limit is unlimited.
    """
    documented_tokens = model.max_enqueued_tokens(settings.tier)
    documented_limit = QueueLimit(documented_tokens, documented_tokens)
    if documented_tokens is None:
        return documented_limit

    key = compute_key_fingerprint(tx, settings)
    since = now - LEARNING_WINDOW
    if not batches.has_full_queue(tx, model.name, key, since=since):
        return documented_limit
    tries = batches.list_create_tries(tx, model.name, key)
    return QueueLimit(learn_limit(tries, documented_tokens, since=since), documented_tokens)


def learn_limit(tries: Iterable[CreateTry], documented_tokens: int, *, since: datetime) -> int:
    """Return the limit of queued prompt tokens that the create calls show.

    It begins with the documented limit, and each call can change it, in their order:

    - A refusal by a full queue lowers it to the largest of three numbers, unless it is lower
      already: the tokens that were queued without the refused batch, half of the tokens with it,
      and MIN_LIMIT_SHARE of the documented limit. A refusal is ignored if these tokens with the
      batch were more than the documented limit, or if the call was before `since`.
    - A success raises it to SUCCESS_GROWTH times the tokens that were queued then, but not above
      the documented limit.

    Args:
        tries: The create calls of a model and a key, oldest first.
        documented_tokens: The documented limit.
    """
    min_limit = documented_tokens * MIN_LIMIT_SHARE
    limit = float(documented_tokens)
    # The created batches that may still be queued, by number.
    queued = dict[int, CreateTry]()
    for create_try in tries:
        queued = {
            number: other
            for number, other in queued.items()
            if other.over_at is None or other.over_at > create_try.sent_at
        }
        queued.pop(create_try.batch, None)
        other_tokens = sum(other.tokens for other in queued.values())
        total_tokens = other_tokens + create_try.tokens
        if create_try.is_created:
            queued[create_try.batch] = create_try
            limit = max(limit, total_tokens * SUCCESS_GROWTH)
        # Above the documented limit a refusal is expected.
        elif (
            create_try.outcome == batches.QUEUE_FULL
            and create_try.sent_at >= since
            and total_tokens <= documented_tokens
        ):
            limit = min(limit, max(other_tokens, total_tokens / 2, min_limit))
        limit = min(limit, documented_tokens)
    return int(limit)
