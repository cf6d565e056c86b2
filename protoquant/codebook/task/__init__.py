"""The classification task through which the gradient learner moves the codes."""
