"""The application component: reads cameras, runs inference through the agent's Unix socket, publishes results by
MQTT."""
