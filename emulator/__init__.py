"""A server that speaks Gemini's own wire protocol, with small but real models and its state on disk."""
