"""Training a model: in the driver, or on Ray Train; the same outputs, and an interrupted training goes on."""

from raypipe.train._trainer import Trained, Trainer, train_model

__all__ = ["Trained", "Trainer", "train_model"]
