"""Variables and templates of a workflow."""
