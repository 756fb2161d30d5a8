"""Cost and benefit of each setting of SCR on the bundled model: ``python -m studies.scr``."""
