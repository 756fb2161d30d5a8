"""Personas: expressions, YAML files, the registry and blends. Torch-free."""
