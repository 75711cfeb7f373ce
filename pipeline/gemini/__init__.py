"""Calls to Gemini: requests, replies, models, costs and limits.

- `client` is the only object that calls the API; `transport` runs its calls.
- `requests` builds request lines, and `answer_schema` the schema of an answer. `responses` parses
  replies; `result_lines` and `result_file` read result files.
- `remote` reads descriptions of batches and files; `api_errors` converts failures of calls.
- `models` has prices and limits, and `usage` counts tokens and costs.
- `rate_limiter` spaces calls, and `retry` computes the delays after failures.
- `embed` builds embedding requests and checks vectors.
"""
