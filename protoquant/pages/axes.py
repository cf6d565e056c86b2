"""Axis titles that all charts of accuracy against size share.

The report's chart is SVG, which needs no script; a sweep's page uses Plotly, for hovering and zooming; pages that show
only a picture, such as a flow's, get a PNG from matplotlib.
"""

SIZE = "prototypes per class (mean)"
ACCURACY = "validation accuracy, %"
