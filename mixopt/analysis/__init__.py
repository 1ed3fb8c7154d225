"""Questions asked of a study or of finished runs."""
