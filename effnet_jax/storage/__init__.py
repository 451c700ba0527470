"""Bytes that must survive: files that appear whole or not at all, and checksums that tell whether they still are."""
