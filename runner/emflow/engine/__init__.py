"""The engine: how a workflow is planned, applied and destroyed, whatever kinds of resources it consists of.

A workflow passes through four modules, each with one task:

1. `scheduler` puts resources into an order in which each comes after what it needs.
2. `plan` lets every resource *observe* what AWS has, all in parallel, and then *compare*; the second half is pure.
3. `apply` makes the changes of a plan, as parallel as the graph allows, and reports what happens as `events`.
4. `destroy` removes, in reverse order, what the workflow made.

`lock` keeps two runs of a workflow apart, `cancellation` ends one early, and `saved_plan` lets a plan be applied later.
None of them knows any kind of resource: all that they know is the protocols in `resource`. `clients` and `errors` are
the only modules here that know boto3.
"""
