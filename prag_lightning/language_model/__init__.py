"""The frozen language model, its tokenizer and its prompts."""
