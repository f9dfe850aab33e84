"""Tests of `runner.gateway.trouble`."""
