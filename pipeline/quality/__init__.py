"""How good answers are: figures, gates, reports, and the pilot that gates judge."""
