"""What a question tells of a person stands between tags of these names, which nothing in it can close."""

from pipeline import delimiting

NAMES = ("username", "job_title", "biography")


def delimited(name: str, data: str) -> str:
    """Return data between tags of that name, one of `NAMES`; those inside the data lose their `<`."""
    return delimiting.delimited(name, data, names=NAMES)
