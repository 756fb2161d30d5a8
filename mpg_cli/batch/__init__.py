"""Many prompts through one model: lines in, records out, nothing lost."""
