"""The kit under every page and chart: templates and styles, words for numbers, pictures as bytes, colours."""
