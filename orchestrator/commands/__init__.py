"""The sub-commands of `pcdarts`: what they print, and what they need beyond a study."""
