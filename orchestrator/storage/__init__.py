"""What a study keeps in its folder besides tables: its configuration, its lease, its failures."""
