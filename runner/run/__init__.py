"""From a request to a running engine: plan, download, check memory, start."""
