"""Quality of answers: figures, gates, reports, and pilots that gates judge."""
