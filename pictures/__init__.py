"""Pictures of the documentation, drawn from what the program writes."""
