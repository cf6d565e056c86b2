"""The inspections, one module each: from a table of photos to findings, without reading a file."""
