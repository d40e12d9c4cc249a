"""Alerts: watching the topics by the rules, and telling people."""
