"""Foundation of all packages: errors, states, settings, files, text and declarations.

It imports no other package.
"""

__version__ = "0.1.0"  # of askrows; by that name another's package may be installed
