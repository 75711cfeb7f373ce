"""`python -m jobs <command>`, the same as `findable <command>`."""

from jobs.cli import main

main()
