"""The subject images: files of a library, and of each a summary and buckets of tags."""

TASK = "images"
ASSETS, ASSET_AI = "assets", "asset_ai"
MARK = "findable_asset_ai_of_asset"  # its index that is made last: where it is, the tables were adopted
HOW_TO_FILL = "`make import-images FOLDER=photos/` brings images in"
