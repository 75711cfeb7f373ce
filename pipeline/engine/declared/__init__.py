"""Tasks that users declare in files of their own: load one, record it, and carry it out."""
