"""Colours by what they mean, for drawings that no style sheet reaches: first those of base.css, in its light scheme."""

INK = "#1c2126"
QUIET = "#5a646d"
LINE = "#e3e5e6"
ACCENT = "#0f6b66"
BOX = "#ffd43b"
"""Around a part of a picture, whatever the picture shows."""
CHOSEN = "#d1495b"
"""The ring around what was chosen among many."""
SCALE = ("#5b7fd6", "#3aa0c8", "#2fae8f", "#8fb339", "#e0a321")
"""From few to many: blue to amber, each as light as the others, seen on white and on black, without red and green."""
SERIES = ("#D55E00", "#0072B2", "#009E73", "#CC79A7")
"""Things beside each other: colours of Okabe and Ito, which all eyes tell apart."""
