"""A virtual Greengrass core device: what a board with the nucleus does, as one process on this machine.

How a deployment goes through it, module by module. `cloud_link` sees a new deployment for the thing; `resolve` asks the
cloud which component versions it comes to; `recipe` picks the manifest for this platform; `artifacts` downloads,
verifies and unpacks; `configuration` merges what the deployment changes; `interpolate` fills in the scripts; `plan`
puts all that together, still without having touched anything that runs. Then `supervisor` stops what goes away and
starts what is new, each `component` in a thread of its own with its steps as processes (`process`), and `status` tells
the cloud. Components talk back over `ipc`, whose publishes `bridge` takes to the broker, and get AWS credentials from
`token_exchange`. `nucleus` holds it all.
"""
