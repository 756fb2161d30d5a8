"""The pages of the commands: usage as the program prints it, below what is written by hand."""
