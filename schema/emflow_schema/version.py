"""The version of all three distributions, which fit together in the same one only. Their builds read it from here.

`+unpublished`: none of them is on an index. PyPI takes no version with such a local part (PEP 440), and the three ask
for each other with it, so that installing one can never bring somebody else's package of the same name.
"""

__version__ = "0.1.0+unpublished"
