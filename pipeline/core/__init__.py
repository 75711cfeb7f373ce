"""What every room stands on: errors, states, settings, files, text, tasks' protocol. It imports no other room."""

__version__ = "0.1.0"  # of findable; by that name another's package may be installed
