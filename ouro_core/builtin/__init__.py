"""What the core brings along itself: each part fulfils a contract, as a plugin would."""
