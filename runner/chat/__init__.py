"""A chat without a screen: events, wire formats, turns, images and saved sessions."""
