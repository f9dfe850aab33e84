"""Feeds steprun headers and captures that lie, and watches that it refuses them in good order."""
