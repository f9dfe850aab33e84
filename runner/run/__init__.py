"""From a request to an engine that can start: choose, download, check. Prints and asks nothing."""
