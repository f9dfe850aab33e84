"""The GGUF format: strict reading of headers, and what they mean for memory."""
