"""A folder a question: its plan, its analysis, its page."""
