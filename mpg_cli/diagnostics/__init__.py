"""What `mpg doctor` looks at: checks of the installation, the machine, the user's files and the engine."""
