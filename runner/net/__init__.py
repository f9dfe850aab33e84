"""Bytes from other computers: addresses, redirects, downloads that resume, Python packages."""
