"""The GGUF format: headers read with suspicion, and what they mean for memory."""
