"""The names of what is read from the environment; apart from the settings, which take longer to load than `--help`."""

PREFIX = "FINDABLE_"
KEY_NAMES = ("GOOGLE_API_KEY", "GEMINI_API_KEY")  # in the order in which the SDK prefers them
BASE_URL_NAME = "GOOGLE_GEMINI_BASE_URL"
