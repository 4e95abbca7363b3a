"""The guards of the two apps: what every request passes before its route."""
