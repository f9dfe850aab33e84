"""The models that steprun knows: what `models.toml` says, as frozen facts."""
