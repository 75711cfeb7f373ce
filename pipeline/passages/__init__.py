"""The subject passages: texts, and concepts with quoted evidence."""
