"""Names of the axes of accuracy against size, which several charts draw.

The report's is SVG, for it needs no script; a sweep's page draws with Plotly, to point and to zoom; what shows a
picture alone, such as a flow's page, gets a PNG by matplotlib.
"""

SIZE = "prototypes per class (mean)"
ACCURACY = "validation accuracy, %"
