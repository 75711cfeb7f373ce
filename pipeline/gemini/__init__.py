"""Everything about Gemini: what goes out, what comes back, what it costs, and the one client that talks to it.

Only `client` opens connections. `requests`, `replies` and `results` are about files, `catalogue`, `costs` and `limits`
about numbers; none of those knows the network, so all of them can be imported at once and tried without it.
"""
