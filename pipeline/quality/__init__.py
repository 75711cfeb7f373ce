"""How good the answers are: figures, the gates they are held against, and the report that a person reads."""
