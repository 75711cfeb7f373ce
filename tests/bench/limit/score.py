"""Scores at the limit: the formula as one statement, which the database works through by itself."""

from pathlib import Path

from tests.bench.limit.database import connected
from tests.bench.measure import Said, Timed

_UPDATE = """
UPDATE experts SET findability_score = round(
    min(40.0, length(trim(coalesce(bio, ''))) / 500.0 * 40)
    + CASE WHEN coalesce(tags, '[]') NOT IN ('', '[]', 'null') THEN 25 ELSE 0 END
    + CASE WHEN trim(coalesce(profile_url, '')) != '' THEN 15 ELSE 0 END
    + CASE WHEN trim(coalesce(job_title, '')) != '' THEN 10 ELSE 0 END
    + CASE WHEN coalesce(hourly_rate, 0) > 0 THEN 10 ELSE 0 END, 1)
"""


def ready(data: Path) -> Timed:
    """Open the database."""
    connection = connected(data)

    def run() -> Said:
        connection.execute("BEGIN")
        rows = connection.execute(_UPDATE).rowcount
        connection.execute("COMMIT")
        return {"rows": rows}

    return run
