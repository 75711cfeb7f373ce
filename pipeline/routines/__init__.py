"""What happens where several steps follow one another in one command."""
