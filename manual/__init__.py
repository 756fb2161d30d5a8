"""Build the pages of the commands: handwritten text followed by generated usage."""
