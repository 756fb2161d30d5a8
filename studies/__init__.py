"""Studies whose results stand in docs/: each is one command that measures and writes its page."""
