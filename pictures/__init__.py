"""Render the pictures of the documentation from real output."""
