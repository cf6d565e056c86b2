"""Colours by meaning, for drawings that no style sheet reaches; the first are those of base.css in its light scheme."""

INK = "#1c2126"
QUIET = "#5a646d"
LINE = "#e3e5e6"
ACCENT = "#0f6b66"
BOX = "#ffd43b"
"""A box around a part of a picture, whatever the picture shows."""
CHOSEN = "#d1495b"
"""The ring around the chosen item among many."""
SCALE = ("#5b7fd6", "#3aa0c8", "#2fae8f", "#8fb339", "#e0a321")
"""A scale from few to many: blue to amber, equally light, visible on white and on black, without red and green."""
SERIES = ("#D55E00", "#0072B2", "#009E73", "#CC79A7")
"""Series beside each other: colours of Okabe and Ito, which colour-blind readers can tell apart too."""
