"""Compare versions of answers, which are `task@n/model`.

A prompt version `task@n` has a version for each model, and a variant `task@n+hash` for each
vocabulary that limits its answers.
"""

from sqlalchemy import ColumnElement, or_, true

# Between a prompt version and the hash of a vocabulary.
VARIANT_MARK = "+"


def has_version(column: ColumnElement[str], version: str | None) -> ColumnElement[bool]:
    """Return the SQL condition that a column has a version; always true if `version` is None.

    Args:
        version: A version, or a prompt version, which means all its models and variants.
    """
    if version is None:
        return true()
    return or_(
        column == version,
        column.startswith(f"{version}/", autoescape=True),
        column.startswith(f"{version}{VARIANT_MARK}", autoescape=True),
    )


def belongs_to_version(version: str, prompt_version: str) -> bool:
    """Return whether a version equals a prompt version, or is one of its models or variants."""
    return version == prompt_version or version.startswith(
        (f"{prompt_version}/", f"{prompt_version}{VARIANT_MARK}")
    )
