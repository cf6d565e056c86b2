"""Sets up what surrounds the package: servers without containers, containers, clusters."""
