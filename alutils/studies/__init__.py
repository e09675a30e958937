"""A folder a notebook: its plan, its analysis, its page."""
