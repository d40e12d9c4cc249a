"""The read-only REST API and the dashboard."""
