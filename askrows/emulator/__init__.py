"""A server with Gemini's wire protocol, small models of its own and its state on disk."""
