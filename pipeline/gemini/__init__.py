"""Everything about Gemini: what goes out, what comes back, what it costs, and the one client that talks to it.

Only `client`, `transport` and `connections` know the network. `requests`, `responses` and `result_file` are about
files, `models`, `tokens` and `limits` about numbers.
"""
