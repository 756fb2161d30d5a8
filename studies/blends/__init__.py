"""Comparison of the blend with other methods to combine several personas in one model."""
