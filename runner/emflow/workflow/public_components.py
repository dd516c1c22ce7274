"""AWS's public components by name: what no component of the user's own may be called.

Others under `aws.greengrass.` are free: AWS's samples (`aws.greengrass.labs.…`) are published in the user's account.
https://docs.aws.amazon.com/greengrass/v2/developerguide/public-components.html
"""

from __future__ import annotations

PUBLIC_COMPONENTS = frozenset(
    f"aws.greengrass.{name}"
    for name in (
        "Cli",
        "Cloudwatch",
        "DLRImageClassification",
        "DLRImageClassification.ModelStore",
        "DLRObjectDetection",
        "DLRObjectDetection.ModelStore",
        "DeviceDefender",
        "DiskSpooler",
        "DockerApplicationManager",
        "KinesisFirehose",
        "LambdaLauncher",
        "LambdaManager",
        "LambdaRuntimes",
        "LegacySubscriptionRouter",
        "LocalDebugConsole",
        "LogManager",
        "Modbus",
        "Nucleus",
        "NucleusLite",
        "SNS",
        "SageMakerEdgeManager",
        "SecretManager",
        "SecureTunneling",
        "ShadowManager",
        "StreamManager",
        "SystemLogForwarder",
        "TokenExchangeService",
        "clientdevices.Auth",
        "clientdevices.IPDetector",
        "clientdevices.mqtt.Bridge",
        "clientdevices.mqtt.EMQX",
        "clientdevices.mqtt.Moquette",
        "crypto.Pkcs11Provider",
        "telemetry.NucleusEmitter",
    )
)
