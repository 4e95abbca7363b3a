"""The version, said once: hatch reads it from here."""

VERSION = "0.1.0"
