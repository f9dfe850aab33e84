"""Pictures of the chat in a real terminal."""
