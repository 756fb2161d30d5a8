"""Where the blend stands against the other ways to get several personas out of one model."""
