"""All fault words, each with its id in the wire notes and the place where it strikes.

Faults of the reply (`args` in brackets). Default: any request of the API, or the kind named.

==========================  =====  ====================================================================
hang                        F01    read the request, never answer
drop                        F02    read the request, do nothing, close the connection
reset                       F03    the same with a reset (a refused connection is a stopped engine)
html_502                    F04    a proxy's page with status 502
html_as_json                F05    a page labelled JSON (code: 503)
html_200                    F06    a page with status 200
empty_200                   F07    status 200 and no body
wrong_shape                 F08    status 200 and other JSON (document)
success_code                F09    done, and answered with 201, 204, 206 (code: 201)
redirect                    F10    302 (location)
list_wrapped                F11    an error inside a list (code: 400, message)
slow_drip                   F12    the answer in small pieces (bytes: 64, pause_seconds: 0.01)
slow_loris                  F12    the answer's head or body byte by byte (part: head, pause_seconds: 0.1)
quota_minute                F20    429 with RetryInfo and a PerMinute quota (delay: "2.5s", model)
quota_day                   F21    429 with a PerDay quota and a misleading delay (delay: "36s", model)
quota_batch                 F22    429 on create, nothing but a link
quota_bare                  F23    429 without details
status                      F24    any status (code: 503, message, headers)
get_status                  F25    the same, on the get of one batch
key_invalid                 F26    400 API_KEY_INVALID
mime_refused                F30    400 at the start of an upload (mime_type)
mime_refused_final          F30    200, status final and an error, at the last chunk (mime_type)
drop_chunk                  F33    the connection breaks on a chunk
reset_chunk                 F33    the connection is reset in the middle of a chunk (at: 1 byte)
chunk_status                F33b   a chunk answered without an upload status (code: 500)
no_upload_url               F35    a start without the session's URL
create_lost_reply           F40    the batch is made, the connection breaks
create_lost_reply_status    F40    the batch is made, the answer is 503 (code)
create_slow_reply           F40b   the batch is made, the answer is late (seconds: 1)
lost_reply                  F40    any request is done, the connection breaks
lost_reply_status           F40    any request is done, the answer is 503 (code)
slow_reply                  F40b   any request is done, the answer is late (seconds: 1)
bad_line                    F43    400 "Error on line N" on create (line: 1, field)
batch_vanishes              F55    404 or 403 on the get of one batch (code: 404)
cancel_ignored              F56    a cancel is accepted and has no effect
page_status                 F58    any status on a page after the first (code: 503)
download_status             F60    any status on a download (code: 503)
cut_with_length             F61    a download cut, its length announced (at, fraction: 0.5)
cut_without_length          F62    a download cut, without a length (at, fraction: 0.5)
reset_download              F61    a download whose connection is reset (at, fraction: 0.5)
clock_jump                  F90    the engine's clock moves, then all goes on (seconds: 3600)
==========================  =====  ====================================================================

Faults of a good reply's document, of uploads and files, and of batches (decided at their create).

==========================  =====  ====================================================================
no_name                     F07    a create answered without a name
foreign_name                F44    a create answered with an unrelated name (name)
unknown_state               F50    a get with an unknown state (state: BATCH_STATE_NEW)
missing_state               F51    a get without a state
empty_page                  F57    an empty page whose token leads to the page asked for
no_output_yet               F59    over, but without its output
page_repeats                F57    a page's token leads back into the page (items: 1)
page_skips                  F57    a page of batches lacks what stands first on it (items: 1)
page_circle                 F57    a page's token leads to the page itself
clock_skew                  F90    the times in a document are those of a wrong clock (seconds: -86400)
vectors_fused               F80    one vector for all texts
vectors_short               F81    the last vector missing
vectors_wrong_dimension     F81    vectors one number short
vectors_nan                 F81    NaN in a vector
vectors_not_unit            F81    vectors three times as long
chunk_lost                  F31    a chunk's bytes vanish under 503 and status active
early_final                 F32    an upload is final after this chunk
file_processing             F34    PROCESSING for some looks (looks: 2)
file_failed                 F34    FAILED
file_expired                F34    gone at once
list_lag                    F41    the batch stays out of the list (seconds: 30)
duplicate_batch             F42    one create makes two batches
never_ends                  F52    no work is done until it expires at 48 h (state: PENDING or RUNNING)
batch_fails                 F53    FAILED (error: {code, message}, partial: 0)
batch_expires               F54    EXPIRED (partial: 0, the share of the results it has all the same)
batch_cancelled             F54    CANCELLED (partial: 0)
==========================  =====  ====================================================================

Faults of result lines, chosen by `match.key` and `args.fraction`, all that match unless `times` says otherwise; the
words from `answer_text` to `other_model` strike live answers too. The last five are about the whole file.

==========================  =====  ====================================================================
missing_line                F64    no line
duplicate_equal             F65    the line twice
duplicate_different         F65    the line and another valid answer
duplicate_error_first       F65    an error line, then the answer
unknown_key                 F66    a further line under a key that was not asked (name)
more_rows                   F66    further lines under keys like ours that were not asked about (count: 10)
number_key                  F67    the key as a number
invalid_utf8                F67    bytes in the answer that are no UTF-8
swapped_bodies              F66b   the lines hit trade their bodies, two by two
garbage_line                F67    a further line that is no JSON
broken_line                 F67    the first half of the line
long_line                   F67    a very long line (bytes: 10 MiB)
line_separators             F67    U+2028, U+2029 and U+0085 as they are, in a thought before the answer
error_line                  F68    an error (code: 13, message, with_response)
all_lines_fail              F69    the same, for every line where no key is named
answer_text                 F70    any text as the answer (text)
max_tokens                  F71    MAX_TOKENS, the text cut in half
max_tokens_empty            F72    MAX_TOKENS, no content, thoughts counted
prompt_blocked              F73    no candidates, a blockReason (reason: PROHIBITED_CONTENT)
safety                      F74    SAFETY without content (reason)
recitation                  F74    RECITATION without content (reason)
no_candidates               F75    an empty list of candidates
unknown_finish              F76    an unknown finish reason (reason: BRAND_NEW)
schema_mismatch             F77    good JSON of another shape (text)
markdown_fence              F77    the answer in a Markdown fence
other_model                 F78    another modelVersion (version)
no_usage                    F78    no word of the tokens that were used
line_vector_wrong_dimension  F81   a vector one number short in an embeddings batch
line_vector_not_unit        F81    a vector three times as long in an embeddings batch
cut_last_line               F67    the file ends in the middle of its last line
no_last_newline             F67    the last line has no end
blank_lines                 F67    blank lines between the lines
crlf                        F67    lines end in CR LF
bom                         F67    a byte order mark in front
==========================  =====  ====================================================================
"""

from emulator import document_faults, line_faults, reply_faults
from emulator.faults import CREATE, Word, words

_CHUNK = r"upload_id="

WORDS: dict[str, Word] = {
    **reply_faults.WORDS,
    **document_faults.WORDS,
    **line_faults.WORDS,
    **words("upload", "POST", _CHUNK, chunk_lost=("F31", None), early_final=("F32", None)),
    **words(
        "file", "POST", _CHUNK, file_processing=("F34", None), file_failed=("F34", None), file_expired=("F34", None)
    ),
    **words(
        "batch",
        "POST",
        CREATE,
        list_lag=("F41", None),
        duplicate_batch=("F42", None),
        never_ends=("F52", None),
        batch_fails=("F53", None),
        batch_expires=("F54", None),
        batch_cancelled=("F54", None),
    ),
}
"""Every word by name; those without a function are known to what handles uploads, files and batches."""
