"""Recipes that rebuild what the project bundles; not part of the installed package."""
