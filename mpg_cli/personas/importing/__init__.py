"""Imports personas from other formats: character cards (V1, V2, V3) and Ollama Modelfiles. Torch-free.

All files are untrusted: sizes are limited before reading or unpacking, and every error is a UsageError.
"""
