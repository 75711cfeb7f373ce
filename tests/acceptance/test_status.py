"""What `status` says of what stopped, failed and comes next, and which task is meant without a name."""

from itertools import pairwise
from pathlib import Path

from tests.acceptance.engine import Engine
from tests.acceptance.product import HEADER, Workspace, declaration
