"""Everything about Gemini: what goes out, what comes back, what it costs, and the one client that talks to it.

Only `client` knows the network; `remote` and `errors` say what came of a call. `requests`, `responses`, `schema` and
`result_file` are about files, `models`, `tokens` and `pace` about numbers, `embed` about vectors.
"""
