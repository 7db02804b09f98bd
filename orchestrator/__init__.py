"""Many searches on a Ray cluster: studies, tables, selection and the retraining queue.  Read `study.py` first."""
