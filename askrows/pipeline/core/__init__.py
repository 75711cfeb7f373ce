"""Foundation of all packages: errors, states, settings, files, text and declarations.

It imports no other package.

- `errors` has the errors by exit code, `states` the modes, states and outcomes, and `report` the
  result of a command. `progress` follows long work.
- `settings` has all settings, which `setting_parsers` parses; `trust` remembers confirmations, and
  `redact` keeps keys secret. `command_hint` names the next command.
- `declaration` is the public `Task`. `answer_fields` describes the fields of its answers, and
  validates answers. `vocabulary` has their terms, and `column_placeholders` fills prompts.
- `quotes` checks quotations: `locate` finds them in a text that `folding` folds.
- `row_listing` has the options of lists of rows, and `where_parser` their conditions.
- `ranking` has the entries of an index, and `tokenizer` splits texts into search terms.
- `files` writes files that survive a crash. `text` escapes and shortens texts, and `differences`
  compares two.
"""

__version__ = "0.1.0"  # of askrows; by that name another's package may be installed
