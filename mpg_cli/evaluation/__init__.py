"""`mpg eval`: questionnaires, style metrics of replies, and comparisons of methods."""
