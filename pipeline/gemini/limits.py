"""The API's limits with their sources."""

MAX_FILE_BYTES = 2 * 1000**3  # one uploaded file, 2 GB (Files API guide, read 2026-11; decimal to be on the safe side)
MAX_STORED_BYTES = 20 * 1000**3  # all uploads of a project, 20 GB (Files API guide, read 2026-11)
MAX_ACTIVE_BATCHES = 100  # of one project at the same time (rate limits page, copy of 2026-01)
MAX_DISPLAY_NAME = 512  # characters (Files API reference, read 2026-11)
MAX_EMBED_TEXTS = 100  # texts in one embedding call (customary and refused above, read 2026-11)
LIST_PAGE_SIZE = 100  # the most a page may hold; without a page size the list has come back empty (2025-08)
