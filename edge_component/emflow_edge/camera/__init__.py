"""Where frames come from: sources that stay up, and the newest frame of each."""
