"""The web page and its JSON API. It calls the same functions as the commands and runs no SQL.

- `serve` runs the server, `guard` checks each request, and `errors` formats errors. `app_state` is
  what a served page remembers; `background_work` follows its work.
- `views` has a module for each page. `render` has the frame of pages and the labels of values, and
  `page_texts` rewrites the messages of commands.
- Lists of rows: `row_query`, `columns` and `facets`.
- Answers: `quotation_marks`, `answer_differences` and `corrections_form`.
- New tasks: `uploads`, `question_form` and `field_shapes`.
"""
