"""The head of a small experiment on birds, to be formatted with the folder of their files."""

BIRDS = """\
# @package _global_
name: birds
data:
  tables:
    birds:
      source: {{_target_: raypipe.sources.Csv, uri: {folder}/*.csv}}
      contract:
        key: [id]
        columns: {{id: int64, wing: float64, mass: float64, island: string, male: bool}}
task: {{kind: binary, events: birds, name: male, label: male}}
"""
