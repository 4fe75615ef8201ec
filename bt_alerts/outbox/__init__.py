"""What survives: the journal that ``emit`` appends to, and the store that journals drain into."""
