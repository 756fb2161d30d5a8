"""What a blend shows: questionnaires put to it and what its answers say."""
