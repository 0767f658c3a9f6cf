# SPDX-License-Identifier: Apache-2.0
"""The benchmark: ``cd tests && python -m bench``; see README.md in this folder."""
