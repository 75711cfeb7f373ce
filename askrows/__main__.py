"""The command line: `python -m askrows`."""

import sys

# Files of the current folder, such as `json.py`, hide no module of Python or of a library.
if not sys.flags.safe_path:
    del sys.path[0]

from askrows.jobs.cli import main

main()
