"""Everything about Gemini: what goes out, what comes back, what it costs, and the one client that talks to it.

Only `client` knows the network; `remote` says what came of a call. `requests` and `responses` are about the lines of
files, `models` and `pace` about numbers, `embed` about vectors.
"""
