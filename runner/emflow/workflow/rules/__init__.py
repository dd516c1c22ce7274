"""What the JSON Schema cannot say about a workflow, one module a subject."""
