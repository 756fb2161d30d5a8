"""`mpg batch`: input lines to requests, events to records in a log that a later run resumes."""
