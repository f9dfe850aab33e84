"""Sees what goes wrong while an engine answers, ends it in words, and says so."""
