"""The recipe of the bundled demonstration model `mpg-tiny`: corpus, tokenizer, base, adapters,
measurements.
"""
