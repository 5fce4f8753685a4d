"""Training a model: in the driver, or on Ray Train; the same outputs, and an interrupted training goes on."""

from raypipe.train._settings import Trainer
from raypipe.train._spent import Cost, Speed
from raypipe.train._trained import Trained
from raypipe.train._trainer import train_model
from raypipe.train._words import memory_line, result_line, speed_words

__all__ = ["Cost", "Speed", "Trained", "Trainer", "memory_line", "result_line", "speed_words", "train_model"]
