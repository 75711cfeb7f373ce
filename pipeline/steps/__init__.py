"""What happens, one module per verb, named as its command. No step imports another."""
