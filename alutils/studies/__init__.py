"""One folder per question, with its plan, its analysis and its page."""
