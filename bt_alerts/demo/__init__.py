"""What ``bt-alerts demo`` is made of: real prices, a live feed that follows a script, a strategy and a receiver."""
