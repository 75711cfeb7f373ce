"""Set up the peers that `make bench ONLY=peers` measures: an environment for each, since no two agree on libraries."""

import subprocess
import sys
import venv

from tests.bench.trials import PEERS, peer_python


def main() -> None:
    """Make what is not there; what is there stays."""
    for name, needs in PEERS.items():
        python = peer_python(name)
        if not python.exists():
            sys.stderr.write(f"installing {name} into {python.parents[1]}\n")
            venv.create(python.parents[1], with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "-q", *needs], check=True)


if __name__ == "__main__":
    main()
