"""The live page of a study, `pcdarts watch`: reads the study's folder, sends what changed, and passes on requests."""
