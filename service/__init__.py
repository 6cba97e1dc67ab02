"""Answers requests; never trains; its front process never loads the TensorFlow runtime."""
