"""Adapters for other engines: GGUF files for llama.cpp, and merges on demand for vLLM."""
