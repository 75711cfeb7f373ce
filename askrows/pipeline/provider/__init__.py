"""The service that answers: requests, replies, models, costs and limits.

- `service` is the one object of a run that has the client, the models, and the first look for each
  lost create.
- `requests` builds request lines and their keys, and `answer_schema` the schema of an answer.
  `responses` parses replies and finish reasons; `result_lines` and `result_file` read result files.
- `decisions` asks closed questions of a decision model.
- `control_requests` finds out whether a batch has mixed up its replies.
- `models` has prices and limits, and `usage` counts tokens and costs.
- `rate_limiter` spaces calls, and `retry` computes the delays after failures.
- `embed` builds embedding requests and checks vectors.
- `remote_batch` is the record of a batch at the API.
- `port` has the calls of a client, and `providers` the limits of each provider. `transport` runs
  calls, and `call_errors` has the errors that all share. `gemini` and `openai` call the APIs.

A live call sends a single request; a batch sends a file of request lines. A decision model answers
closed questions: it replies a probability for each option and writes no text. The service tier
(standard, batch, flex, priority) is requested with a call and sets its price; the usage tier (free,
1, 2, 3) belongs to the account and sets its limits.
"""
