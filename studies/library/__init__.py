"""The report on the library of personas on a real model."""
