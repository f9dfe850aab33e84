"""What a running model takes: the KV cache, the compute buffers, and the ledger of all bytes."""
