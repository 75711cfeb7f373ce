"""What every room stands on: errors, states, settings, files, text, tasks' protocol. It imports no other room."""
