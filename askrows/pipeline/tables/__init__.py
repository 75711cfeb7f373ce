"""Tables and files of other programs: adopted, read and written, for every subject."""
