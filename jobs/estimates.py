"""How estimates are told beside what they came to, in `make status`."""

from typing import Any

from jobs.output import print_line, usd

SHOWN = 5  # that are printed; --json has more


def show(document: dict[str, Any]) -> None:
    """Print what the newest batches and runs were estimated at, what they came to, and the mean error."""
    label = "estimates"
    for one in document["estimates"][-SHOWN:]:
        name = f"{'batch' if one['kind'] == 'batch' else 'live run'} {one['number']}"
        came = f", came to {_amount(one['actual'])}" if one["actual"] else ""
        error = f", {one['error']:.1%} off" if one["error"] is not None else ""
        print_line(f"{label:<11}{name}: {_amount(one['estimated'])} estimated{came}{error}")
        label = ""
    error = document["estimate_error"]
    if error["mean"] is not None:
        print_line(f"{label:<11}off by {error['mean']:.1%} on the mean of {error['of']}")


def _amount(amounts: dict[str, Any]) -> str:
    """Return tokens and money."""
    return f"{amounts['tokens_in']:,} in, {amounts['tokens_out']:,} out, {usd(amounts['cost'])}"
