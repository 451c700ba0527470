"""Retrieval: rank the whole gallery for each query, measure, report."""
