"""Checks of client packages against a running gateway: see `scripts/try_clients`."""
