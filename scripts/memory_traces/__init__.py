"""Recorded movements of a machine's memory, and what the watch beside an engine makes of them."""
