"""The Hugging Face hub, or a mirror: addresses, listings, headers and bytes of its files."""
