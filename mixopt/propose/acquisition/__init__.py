"""What a trial is worth before it is run."""
