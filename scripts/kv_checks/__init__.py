"""Measures what kept KV caches save, through steprun itself."""
