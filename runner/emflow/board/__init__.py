"""What a board needs of Python packages: its figures, the lock file with hashes, and the wheels themselves.

`figures` are those of the workflow's `edge.board`; `requirements` is what the device packages ask for there; `resolver`
finds the versions, through uv; `lock` is the file beside the workflow; `wheels` fetches what the lock names.
`emflow.recipes.runtime_component` makes a Greengrass component of them.
"""
