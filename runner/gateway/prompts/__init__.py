"""Prompts that the gateway passes on: what they consist of, and what of them was read before."""
