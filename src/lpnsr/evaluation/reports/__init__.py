"""An evaluation as HTML, Markdown and CSV."""
