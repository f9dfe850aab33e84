"""How fast a model should run here: published measurements, and estimates from memory bandwidth."""
