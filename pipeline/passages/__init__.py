"""Passages: texts, and concepts with quoted evidence."""
