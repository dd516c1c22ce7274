"""The part of SageMaker for edge devices: fleets and devices, Neo compilation, Edge packaging."""
