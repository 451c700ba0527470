"""The one look of all pages and plots."""
