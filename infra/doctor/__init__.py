"""Is everything there that the service needs? Each check says what it saw, how bad that is, and what to do."""
