"""Benchmarks: the figures of the README, each measured by one command."""
