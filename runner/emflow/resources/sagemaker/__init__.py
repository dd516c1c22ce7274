"""SageMaker: fleet, devices, compilation and packaging jobs."""
