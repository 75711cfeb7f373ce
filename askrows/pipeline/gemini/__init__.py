"""Calls to Gemini: requests, replies, models, costs and limits.

- `service` is the one object of a run that has the client, the models, and the first look for each
  lost create.
- `client` is the only object that calls the API; `transport` runs its calls.
- `requests` builds request lines and their keys, and `answer_schema` the schema of an answer.
  `responses` parses replies and finish reasons; `result_lines` and `result_file` read result files.
- `decisions` asks closed questions of a decision model.
- `control_requests` finds out whether a batch has mixed up its replies.
- `remote` reads descriptions of batches and files; `api_errors` converts failures of calls.
- `models` has prices and limits, and `usage` counts tokens and costs.
- `rate_limiter` spaces calls, and `retry` computes the delays after failures.
- `embed` builds embedding requests and checks vectors.

A live call sends a single request; a batch sends a file of request lines. A decision model answers
closed questions: it replies a probability for each option and writes no text. The SDK is Google's
library google-genai. The service tier (standard, batch, flex, priority) is requested with a call
and sets its price; the usage tier (free, 1, 2, 3) belongs to the account and sets its limits. A
clear refusal is an error after which the call certainly had no effect.
"""
