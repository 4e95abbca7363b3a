"""Coding agents that use lmx: how each one is started and configured, and which model it gets.

Everything here computes values from values, except files.py, which reads and writes the agents' configurations.
"""
