"""llama-cpp-python as an engine: installed for this machine, with a server of our own over it."""
