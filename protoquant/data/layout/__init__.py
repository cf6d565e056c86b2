"""What the folders of a root are: splits, classes, or another data set."""
