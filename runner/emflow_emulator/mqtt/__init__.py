"""The parts of the embedded MQTT broker that need no network: packets, topic filters, and the exchange of messages."""
