"""Candidate schedules: drawn, moved downhill, and kept apart."""
