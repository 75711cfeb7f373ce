"""What the local engine answers with: a pure function of the request, out of the words that it shows."""
