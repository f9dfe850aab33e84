"""Measures the chat from outside: a scripted engine, a pseudo terminal, and what is read off it."""
