"""VISUALIZE: pictures and the report, drawn from what the other stages measured."""
