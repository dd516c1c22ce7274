"""Message classes built at run time from the compiled .proto files of this package, for whatever protobuf there is.

Each file has a descriptor pool of its own, so a process may import generated code of the same messages too: in the
default pool the two would collide. Proven with protobuf 3.12 to 7.36.
"""

from __future__ import annotations

import pkgutil
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


class Compiled:
    """One of the .binpb files: its descriptors and its message classes.

    Args:
        name: the file's, without its ending.
    """

    def __init__(self, name: str) -> None:
        content = pkgutil.get_data(__package__, f"{name}.binpb") or b""
        (self.file,) = descriptor_pb2.FileDescriptorSet.FromString(content).file
        self.package: str = self.file.package
        self.pool: Any = descriptor_pool.DescriptorPool()
        self.pool.AddSerializedFile(self.file.SerializeToString())
        # Before 4.22 the only way to a class, since 5.26 gone.
        self.class_of: Any = (
            getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory(self.pool).GetPrototype  # type: ignore[attr-defined,unused-ignore]
        )

    def message(self, name: str) -> Any:
        """The class of a message, by its name within the package."""
        return self.class_of(self.pool.FindMessageTypeByName(f"{self.package}.{name}"))

    def enum(self, name: str) -> dict[str, int]:
        """The values of an enum, by its name within the package."""
        values = self.pool.FindEnumTypeByName(f"{self.package}.{name}").values
        return {value.name: value.number for value in values}

    def service(self, name: str) -> Any:
        """A service's descriptor, by its name within the package."""
        return self.pool.FindServiceByName(f"{self.package}.{name}")
