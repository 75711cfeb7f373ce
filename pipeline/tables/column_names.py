"""The names by which columns of files are known in a dozen languages, by what they say."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

_KNOWN = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
COLUMN_NAMES: Mapping[str, tuple[str, ...]] = {said: tuple(names) for said, names in _KNOWN.items()}
