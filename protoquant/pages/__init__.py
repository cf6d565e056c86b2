"""Shared parts of all pages and charts: templates, styles, formatters, encoded pictures and colours."""
