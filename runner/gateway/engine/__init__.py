"""The side of the engine: kept running, whose turn it is, and its answers passed on."""
