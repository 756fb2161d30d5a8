"""`mpg doctor`: checks of the installation, the machine, the user's files and the engine."""
