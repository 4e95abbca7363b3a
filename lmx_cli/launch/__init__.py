"""Coding agents that use lmx: how each one is started and configured, and which model it gets.

All modules are pure except files.py, which reads and writes the agents' configurations.
"""
