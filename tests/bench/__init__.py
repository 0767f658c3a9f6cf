"""The benchmark: ``cd tests && python -m bench``; see README.md in this folder."""
