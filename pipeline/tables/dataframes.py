"""What Python shows of a result: one line, and a frame of pandas where that is installed."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pipeline.core.errors import ConfigurationError
from pipeline.core.text import cut, one_line

T = TypeVar("T")


class RowCollection:
    """Rows with the same columns, however they are come by."""

    def flat(self) -> Iterator[dict[str, Any]]:
        """Yield a flat row for each."""
        raise NotImplementedError

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return a flat row for each."""
        return list(self.flat())

    def to_pandas(self) -> Any:
        """Return a data frame of pandas. ConfigurationError where pandas is not installed."""
        try:
            import pandas as pd
        except ImportError as error:
            said = (
                "a data frame needs pandas, which is not installed; to_dicts() gives the same rows"
            )
            raise ConfigurationError(said, hint="pip install -e '.[pandas]'") from error
        return pd.DataFrame(self.to_dicts())


class ResultTable(list[T], RowCollection):
    """Results as a list."""

    def flat(self) -> Iterator[dict[str, Any]]:
        """Yield each as a flat row: its document, where it has one, else what it holds."""
        for one in self:
            found = one if isinstance(one, Mapping) else getattr(one, "document", None) or vars(one)
            yield dict(found)

    def __repr__(self) -> str:
        names = f": {', '.join(next(self.flat()))}" if self else ""
        return cut(f"<{len(self):,} {'row' if len(self) == 1 else 'rows'}{names}>")


class ResultDocument(dict[str, Any]):
    """What is known of one thing, by name."""

    __repr__ = one_line
