"""Results of trials: checked, stored, and read as values and tables."""
