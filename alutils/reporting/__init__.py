"""Statistics, sentences, figures and pages; nothing here imports torch."""
