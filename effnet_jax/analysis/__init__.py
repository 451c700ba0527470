"""Pictures and figures drawn from what retrieval and training leave behind."""
