"""Trials of several sizes and lengths, extrapolated to a target."""
