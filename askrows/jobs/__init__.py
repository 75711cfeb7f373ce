"""The commands: their options, and the calls of the packages that do the work.

A command checks and combines its options, calls a package and returns the report. Only this package
reads the arguments of the command line.
"""
