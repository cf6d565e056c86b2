"""EVALUATE: the one stage that reads the test split; it measures and changes nothing."""
