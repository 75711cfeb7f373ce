"""Search index: cached vectors, verified builds, and searches in a build.

- `indexed_tasks` knows whether a task is indexed, and how.
- `build` builds the index of a task: `vectors` embeds texts that `vector_cache` does not have, and
  `write` writes and verifies a build. `builds` promotes it, and tells which entries are stale.
- `manifest` and `vector_file` are the files of a build; `build_reader` reads them.
- `search` finds hits: `query` parses the question, `scoring` ranks the entries, and `hits`
  describes them. `evaluate` measures the search on judged queries.
"""
