"""IAM roles and policies, and IoT's role alias."""
