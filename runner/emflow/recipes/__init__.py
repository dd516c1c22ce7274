"""What is sent to devices: the components' files and recipes, the deployment, and the configurations in it."""
