"""A server with Gemini's wire protocol, small models of its own and its state on disk.

- `server` starts it, `api` serves Gemini's paths, and `openai` the same in OpenAI's form.
- `messages` parses requests and builds refusals; `schema` parses the schemas of answers.
- `generate`, `decide` and `embed` answer requests of the models of `catalogue`; `answers` makes the
  values.
- `worker` answers batches, and `state` stores files and batches.
"""
