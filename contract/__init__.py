"""What service and retrain promise each other. No network, no database, no TensorFlow."""
