"""Recordings of what the probes read, their replay, and the machines known by name."""
