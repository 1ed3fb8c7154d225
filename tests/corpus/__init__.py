"""Tests of mixopt.corpus."""
