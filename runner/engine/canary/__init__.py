"""The canary: a tiny Step is asked for everything that the real one will be asked for."""
