"""The web page and its JSON API. It calls the same functions as the commands and runs no SQL."""
