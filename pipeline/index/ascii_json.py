"""Write texts as `json.dumps` does. Keys and hashes are made of that, and those of earlier versions must stay good.

Most texts are ASCII, which orjson writes ten times as fast; DEL is the one such character that it does not escape.
"""

from json.encoder import encode_basestring_ascii

import orjson


def ascii_json(text: str) -> bytes:
    """Return a text as JSON of ASCII characters alone."""
    if text.isascii() and "\x7f" not in text:
        return orjson.dumps(text)
    return encode_basestring_ascii(text).encode("ascii")
