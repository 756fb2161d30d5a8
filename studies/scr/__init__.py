"""What each choice of SCR costs and gives, on the bundled model: ``python -m studies.scr``."""
