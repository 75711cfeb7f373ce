"""Passages of text: which concepts does each speak of, and which words of it prove that?"""
