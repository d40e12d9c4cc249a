"""Alerts: rules over what is known of the accounts, and what becomes of them. Pure, like the rest of the core."""
