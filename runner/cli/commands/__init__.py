"""The commands: one module each, loaded when typed. They print; the others return values."""
