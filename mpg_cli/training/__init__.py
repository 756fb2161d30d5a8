"""`mpg train`: preference data in, a LoRA adapter and its persona file out. TRL and PEFT do the training."""
