"""The product works with an independently written server, with its troubles."""

from collections import Counter
from collections.abc import Callable

import pytest

from tests.acceptance.product import BATCH_COMMANDS, Workspace
from tests.outside.answers import Json, RefusedLine, fill, user_text
from tests.outside.keeping import STATES_WITHOUT_RESULT
from tests.outside.server import Outside

TRADES = ("glass", "ships", "bread", "clocks", "rivers", "maps", "looms", "soil", "stars", "bees")
BIOS = [
    f"person-{number},P,{number},,,I work with {trade} since {number}."
    for number, trade in enumerate(TRADES)
]
FILE = "\n".join(["Username,First Name,Last Name,Job Title,Company,Bio", *BIOS, "silent,S,,,,"])
MAX_ROUNDS = 9


def run_until_tagged(
    workspace: Workspace, server: Outside, run_command: Callable[[str], object]
) -> None:
    """Import people, run the chain until they are tagged, and compare server and workspace."""
    # Several batches are needed for ten people.
    workspace.settings |= {"BATCH_ROWS": "4"}
    workspace.write_file("people.csv", FILE)
    workspace.run_command("import", "people.csv")

    for _ in range(MAX_ROUNDS):
        for verb in BATCH_COMMANDS:
            run_command(verb)
        if (states := workspace.state_counts()) == {"tagged": len(TRADES), "no_bio": 1}:
            break
    else:
        pytest.fail(f"not all are tagged: {states}")

    check_once(server)
    assert len(server.kept.answered()) == len(TRADES)
    server_names = {batch["name"] for batch in server.batches()}
    assert server_names == {batch["remote_name"] for batch in workspace.batches()}


def check_once(server: Outside) -> None:
    """Assert that no batch was created twice and each key was answered exactly once.

    A key may be asked again only after a refusal. Failed and cancelled batches do not count.
    """
    created = server.kept.created()
    labels = [batch.label for batch in created]
    assert len(set(labels)) == len(labels), f"made twice: {labels}"

    requested_keys = Counter[str]()
    for batch in created:
        if batch.final_state not in STATES_WITHOUT_RESULT:
            requested_keys.update(line["key"] for line in batch.lines)
    requested_keys -= server.kept.answered(refused=True)
    answered_keys = server.kept.answered()
    doubled_keys = [key for key, count in answered_keys.items() if count > 1]
    assert not doubled_keys, f"answered twice: {doubled_keys}"
    assert answered_keys == requested_keys, (
        f"asked and not answered: {requested_keys - answered_keys}"
    )
    assert set(server.kept.questions().values()) <= {1}, (
        "one question was answered twice, live or with a batch"
    )


def test_lost_replies_cut_downloads_and_refusals_are_retried(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Each person is asked once, no batch is created twice, and a refused line is asked again."""
    refused_trades: list[str] = []

    def answer(request: Json) -> Json:
        """Refuse the line about maps once."""
        if "maps" in user_text(request) and not refused_trades:
            refused_trades.append("maps")
            raise RefusedLine(13)
        return fill(request)

    outside_server.answerer = answer
    outside_server.troubles.lost_creates = 2
    outside_server.troubles.cut_downloads = 3
    outside_server.troubles.refused = 0.2

    run_until_tagged(served_workspace, outside_server, served_workspace.try_command)

    assert sum(outside_server.kept.answered(refused=True).values()) == 1
    assert outside_server.troubles.lost_creates == 0
    assert outside_server.troubles.cut_downloads == 0
