"""`mpg train`: preference data to a LoRA adapter and its persona file, with TRL and PEFT."""
