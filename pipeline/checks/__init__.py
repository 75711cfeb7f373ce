"""What `doctor` looks at, one module per place: sealed files, accounts, the index, the backend.

A check yields findings; told to mend, it mends what can be mended without loss and says so in the finding.
"""
