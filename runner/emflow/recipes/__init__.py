"""What is sent to a device: the application's bundle, its recipe, the deployment and the configurations in it."""
