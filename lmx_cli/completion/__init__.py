"""Completion of command lines in bash, zsh and fish. The shell runs `lmx __complete LINE` for each press of Tab."""
