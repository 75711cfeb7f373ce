"""Search index: cached vectors, verified builds, and searches in a build."""
