"""Images: files of a library, each with a summary and buckets of tags.

Images are a declared task that ships with findable. Its answers are also written to `asset_ai`, for
other programs.
"""

from pipeline.core.command_hint import CommandHint, HintTemplate

TASK = "images"
ASSETS = "assets"
ASSET_AI = "asset_ai"
# The last index that adoption creates. If it exists, both tables were adopted completely.
ADOPTION_INDEX = "findable_asset_ai_of_asset"
HOW_TO_BEGIN = HintTemplate("`{}` imports images", CommandHint("import-images", folder="photos/"))
