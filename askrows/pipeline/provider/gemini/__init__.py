"""Calls to Gemini's API.

- `client` is the only object that calls the API.
- `remote` reads descriptions of batches and files; `api_errors` converts failures of calls.

The SDK is Google's library google-genai. A clear refusal is an error after which the call certainly
had no effect.
"""
