"""Training a model: in the driver, or on Ray Train; the same outputs, and an interrupted training goes on."""

from raypipe.train._loops import memory_bound
from raypipe.train._resources import Request, places, request_on
from raypipe.train._settings import Trainer
from raypipe.train._spent import Cost, Speed
from raypipe.train._state import curve_so_far
from raypipe.train._trained import Trained
from raypipe.train._trainer import train_model
from raypipe.train._words import memory_line, result_line, speed_words

__all__ = [
    "Cost",
    "Request",
    "Speed",
    "Trained",
    "Trainer",
    "curve_so_far",
    "memory_bound",
    "memory_line",
    "places",
    "request_on",
    "result_line",
    "speed_words",
    "train_model",
]
