"""What surrounds the package: servers without containers, containers, clusters."""
