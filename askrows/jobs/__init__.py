"""The commands: their options, and the calls of the packages that do the work.

A command checks and combines its options, calls a package and returns the report. Only this package
reads the arguments of the command line.

- `commands` is the table of all commands; `command` runs one of them, for a terminal or a page.
- The functions are in `import_commands`, `tag_commands`, `try_commands`, `batch_commands`,
  `row_commands`, `search_commands`, `maintenance_commands`, `settings_commands`, `server_commands`
  and `demo`.
- `cli` reads the command line, with `options` and `variables`; `output` prints, and `exit_codes`
  ends the process. `open_workspace` is `askrows.open`.
"""
