"""The rehearsals in docs/local-engine.md go as the page says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from emulator.latency import KINDS
from emulator.server import start
from tests.lab import ROOT

PAGE = (ROOT / "docs" / "local-engine.md").read_text(encoding="utf-8")
ENGINE = "127.0.0.1:8080"


def run(section: str, url: str) -> tuple[str, str]:
    """Run the first shell block of a section against an engine, and return the block and what it printed."""
    found = re.search(rf"### {section}\n.*?```sh\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    script = found[1].replace(ENGINE, url.removeprefix("http://"))
    assert script != found[1]
    done = subprocess.run(["sh", "-eu", "-c", script], capture_output=True, text=True, check=True)
    return found[1], done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page's commands are curl's")
def test_the_rehearsals_go_as_their_comments_say(tmp_path: Path) -> None:
    """Each call gets the status that stands behind it; the latencies shown can be set, and every kind is named."""
    with start(tmp_path) as server:
        run("Slow answers", server.url)
        assert server.world.settings.latencies[":generateContent"]["kind"] == "lognormal"
    with start(tmp_path / "quotas") as server:
        block, printed = run("A day of quotas", server.url)
    assert printed.split() == re.findall(r"^ask # (\d+)", block, re.MULTILINE)
    assert set(printed.split()) == {"200", "429"}
    told = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE, re.MULTILINE))
    assert {kind: tuple(re.findall(r"`(\w+)`", members)) for kind, members in told.items()} == {
        kind: names for kind, (_, names) in KINDS.items()
    }
