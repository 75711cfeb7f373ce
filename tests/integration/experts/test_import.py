"""Import: a transaction per file, repeatable, tags untouched, all changes reported."""

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from askrows.pipeline.batch.batch_plan import Selection
from askrows.pipeline.batch.prepare import Preparation
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.progress import NoProgress
from askrows.pipeline.core.states import Mode
from askrows.pipeline.experts import import_, table
from askrows.pipeline.store import claims
from tests.integration.passages import workspaces

HEADER = (
    "Username,First Name,Last Name,Job Title,Company,Bio,Hourly Rate,"
    "Currency,Profile URL,Profile URL with UTM,category"
)


def workspace(directory: Path) -> AbstractContextManager[Run]:
    """Open the workspace in a directory."""
    return workspaces.workspace(directory, task="experts")


def people_file(path: Path, **bios: str) -> Path:
    """Write a CSV file of people with biographies by username, and return its path."""
    # All other cells are equal.
    lines = (
        f'{username},Ann,Lee,CTO,Acme,"{bio}",100,USD,https://x.example,,Speaker'
        for username, bio in bios.items()
    )
    path.write_text("\n".join((HEADER, *lines)) + "\n", encoding="utf-8")
    return path


def rows(ws: Run) -> dict[str, dict[str, Any]]:
    """Return every row of the table by username."""
    with ws.workspace.store.read() as tx:
        rows = table.people_table(tx).read_cells(tx, table.COLUMNS)
        people = [dict(zip(table.COLUMNS, row, strict=True)) for row in rows]
    return {str(person["username"]): person for person in people}


@pytest.mark.alike
def test_a_new_biography_keeps_tags_and_unparks(tmp_path: Path) -> None:
    """A new biography keeps tags and claims, and unparks a parked person."""
    with workspace(tmp_path / "data") as ws:
        import_.import_people_file(
            ws.workspace,
            people_file(
                tmp_path / "p.csv",
                **dict.fromkeys(("tagged", "asked", "parked", "still"), "Water."),
            ),
        )
        ids = {name: str(row["id"]) for name, row in rows(ws).items()}

        # Claim a row, tag a row, and park two rows.
        selection = Selection(row_ids=[ids["asked"]])
        single_ws = replace(ws, is_single_batch=True)
        preparation: Any = Preparation(
            single_ws, selection, NoProgress(), mode=Mode.LIVE
        ).prepare_next()
        with ws.workspace.store.write() as tx:
            table.write_tags(tx, {ids["tagged"]: '["water law"]'})
            parked_claims = {
                claims.RowClaim(ids[name], ""): "failed twice" for name in ("parked", "still")
            }
            claims.record_ended(
                tx,
                table.TASK,
                ws.version,
                claims.ClaimOutcomes((), parked_claims, ()),
                now=ws.workspace.now(),
            )

        changed_file = people_file(
            tmp_path / "p.csv", **dict.fromkeys(("tagged", "asked", "parked", "new"), "Stone.")
        )
        report = import_.import_people_file(ws.workspace, changed_file)
        tagged = rows(ws)["tagged"]
        with ws.workspace.store.write() as tx:
            counts = table.people_table(tx).count_states(tx)
            assert claims.release_claims(tx, preparation.number) == 1

    assert tagged["bio"] == "Stone."
    assert tagged["tags"] == '["water law"]'
    assert report.updated == 3
    assert report.released == 1
    assert (counts.open, counts.parked) == (2, 1)
