"""Initial designs."""
