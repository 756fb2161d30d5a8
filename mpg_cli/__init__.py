"""mpg: several personas at once, blended while a language model decodes."""

__version__ = "0.1.0"
