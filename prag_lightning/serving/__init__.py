"""A run as a service: OpenAI's interface, a page to ask on, and documents added while it runs."""
