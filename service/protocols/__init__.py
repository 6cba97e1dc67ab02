"""Thin adapters: decode a request, one core call, encode the answer."""
