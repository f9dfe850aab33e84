"""Getting engines: sources, builds, downloads."""
