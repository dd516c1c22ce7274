"""The gateway: checks HTTP requests and passes them to the service that answers them."""
