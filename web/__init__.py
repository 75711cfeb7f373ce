"""The page and its JSON API, on the rooms' own functions as the commands are: no SQL, and no logic of its own."""
