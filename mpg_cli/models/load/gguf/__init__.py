"""GGUF files, the format of llama.cpp: read, checked and converted to what transformers loads."""
