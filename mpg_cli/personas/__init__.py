"""Personas without torch: expressions, YAML files, the registry that finds them, and blends."""
