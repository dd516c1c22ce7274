"""SageMaker, as far as edge devices go: fleets and devices, Neo compilation, Edge packaging."""
