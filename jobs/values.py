"""What a value on the command line may be: the types that several commands share."""

import click

LARGEST = 10**15  # more than any table holds, and well below what a database takes as a number
COUNT = click.IntRange(1, LARGEST)


class Name(click.ParamType[str]):
    """A username: any text, as long as it is text (bytes that are no UTF-8 reach a program as lone surrogates)."""

    name = "username"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value as it is.

        Raises:
            click.BadParameter: it holds what is no text.
        """
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            self.fail("it holds bytes that are no UTF-8 text", param, ctx)
        return value


USERNAME = Name()
