"""Calls to servers that speak OpenAI's API: files, batches, chat completions and embeddings.

- `client` is the only object that calls the API.
- `requests` translates a request of ours to the body of a chat completion, and a completion to a
  reply of ours, with the schema of an answer.
- `result_lines` translates the lines of a result, and says what each error of a line does.
- `api_errors` converts refusals.

Sealed files have our form. Only the bytes on the wire are translated.
"""
