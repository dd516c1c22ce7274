"""The Python packages of a board: a component installs them, and others start with them.

`install` is the install step of the Runtime component. It puts the packages into a folder named after the lock's
digest, in the component's work folder. `start` waits until that folder is complete, and runs a module with it.

Only the standard library: these programs run before any package is there. A program that uses the packages holds a
lock on their folder, so that the next version of the component does not remove them while they are in use.
"""
