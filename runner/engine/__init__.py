"""Engines: recipes, the embedded one, its guard and its supervisor."""
