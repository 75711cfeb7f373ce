"""Images: files of a library, each with a summary and buckets of tags.

Images are a declared task that ships with findable. Its answers are also written to `asset_ai`, for
other programs.
"""
