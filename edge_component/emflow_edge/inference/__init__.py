"""The client of the agent: model loading, Predict, and sending captured data."""
