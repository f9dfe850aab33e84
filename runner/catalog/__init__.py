"""The models that steprun knows, read from `models.toml`."""
