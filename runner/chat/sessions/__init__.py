"""Saved chats, and the images in them."""
