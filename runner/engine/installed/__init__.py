"""The engines on this disk: what is known of each, and which one runs."""
