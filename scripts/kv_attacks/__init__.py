"""Attacks the store of saved prompts, and judges what it gives back and what it leaves behind."""
