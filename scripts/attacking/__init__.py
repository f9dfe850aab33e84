"""Attacks a gateway as web pages, broken programs and strangers would, and judges its answers."""
