"""How a workflow becomes true, whatever it is made of.

A rollout passes through four modules, each with one job:

1. `graph` puts resources into an order in which each comes after what it needs.
2. `plan` lets every resource *observe* what AWS has, all side by side, and then *compare*; the second half is pure.
3. `apply` makes the differences of a plan true, as parallel as the graph allows, and tells of it in `events`.
4. `destroy` takes down, in reverse order, what carries our mark.

None of them knows a bucket from a fleet: all that they know is the protocol in `resource`. `clients` and `errors` are
the only modules here that know boto3.
"""
