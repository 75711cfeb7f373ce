"""What takes several steps in one command."""
