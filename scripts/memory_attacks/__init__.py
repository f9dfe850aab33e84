"""Balloons against the watch over memory: a real engine, real memory, real control groups."""
