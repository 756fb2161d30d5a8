"""Personas from others' formats: character cards (V1, V2, V3) and Ollama Modelfiles. Torch-free.

Every file is taken as hostile: sizes are bounded before anything is read or unpacked, and whatever is wrong
with one is a UsageError.
"""
