"""The version of lmx; hatch reads it from here."""

VERSION = "0.1.0"
