"""The index: vectors cached by what they are of, and builds that are verified before they are put in service.

`vectors` keeps every vector once, in the bytes of `record_format`, and `vector_file` finds them again; `staging` writes
a build and `verifying` reads it back; `builds` decides which one is in service; `reading` answers searches from one
build; `flat` is the only module that knows the faiss file, `manifest` names the files of a build, `handles` and `links`
are what the file system does for us. Nothing here knows a subject, the database or Gemini.
"""
