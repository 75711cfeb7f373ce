"""Asking now instead of by batch: one call an item, at full price."""
