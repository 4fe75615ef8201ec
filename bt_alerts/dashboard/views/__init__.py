"""The pages of the dashboard, one file each: ``show()`` draws it.

Streamlit would take a folder ``pages`` for its own.
"""
