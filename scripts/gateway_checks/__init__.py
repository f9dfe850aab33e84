"""Checks of the gateway from outside: a soak under load, llama.cpp's own server tests."""
