"""Commands that print the prices and limits of models, and the settings."""

from datetime import UTC, datetime
from typing import Annotated

from askrows.jobs.options import Parameter
from askrows.jobs.variables import read_settings
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.report import Report, make_table
from askrows.pipeline.core.settings import format_number_with_unit, list_masked_setting_rows

# Columns of the table; see `make_table`.
SETTING_COLUMNS = "setting=name value from=source meaning=help"


def prices() -> Report:
    """List prices and limits of all models.

    Prices are today's USD per 1 million tokens, in/out. Limits are those of ASKROWS_TIER: requests
    (RPM) and prompt tokens (TPM) a minute, requests a day (RPD), and prompt tokens in waiting
    batches. ASKROWS_RPM, ASKROWS_TPM and ASKROWS_RPD override the first three.
    """
    # The import of the database packages takes long, and `settings` does not need them.
    from askrows.pipeline.batch import report

    return report.report_prices(read_settings(), day=datetime.now(UTC).date())


def settings(
    *,
    all_: Annotated[bool, Parameter("Also list settings with their default value.")] = False,
) -> Report:
    """List the settings that were set, with value, origin and meaning; API keys are masked.

    --all and --json also list the settings that have their default value.
    """
    all_rows = list_masked_setting_rows(read_settings())
    listed_rows = [row for row in all_rows if all_ or row.source != "default"]

    documents = [
        row._asdict() | {"value": format_number_with_unit(row.value, row.unit)}
        for row in listed_rows
    ]
    return Report(
        [row._asdict() for row in all_rows],
        parts=[make_table(documents, SETTING_COLUMNS)],
        next_step=CommandHint("settings", all=True),
    )
