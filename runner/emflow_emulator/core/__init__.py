"""A virtual Greengrass core device: does the work of a board with the nucleus, as one process on this machine.

These modules process a deployment, in this order. `cloud_client` finds a new deployment for the thing. `resolve` gets
the component versions from the cloud. `recipe` selects the manifest for this platform. `artifacts` downloads, verifies
and unpacks. `configuration` merges the changes of the deployment. `plan` fills in the scripts and combines all this;
until then, the running components are not touched. Then `supervisor` stops removed and changed components, runs the
`bootstrap` steps, and starts new and changed components. Each `component` has its own thread, and its steps are
processes (`process`), which find the Python that `board_python` has made. `status` reports to
the cloud. Components use `ipc` to call the device; `mqtt_bridge` sends their messages to the broker, and
`token_exchange` gives them AWS credentials. `nucleus` contains all of these parts.
"""
