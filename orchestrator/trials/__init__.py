"""Searches and retrainings as trials under Ray Tune: what runs where, and what comes back."""
