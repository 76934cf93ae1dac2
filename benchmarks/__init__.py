"""Measurements of the product: what its parts cost, and how it compares with its peers."""
