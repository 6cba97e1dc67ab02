"""Protocol definitions and their generated stubs (`make protos`)."""
