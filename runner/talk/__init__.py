"""Speaking to a server: events, dialects, pictures, sessions."""
