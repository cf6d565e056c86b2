"""What every stage stands on: sections, errors, artifacts, paths, events, seeds."""
