"""raypipe: one Hydra experiment becomes a live, governed model on Ray."""

__version__ = "0.1.0"
