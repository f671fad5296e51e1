"""What commands share; no commands themselves."""
