"""What devices send back: result messages over MQTT, and captured tensors."""
