"""`mpg tune`: what steps and passes cost here, what is accepted, and the settings that are fastest."""
