"""From the journal to the service: the planner decides, couriers deliver, the engine runs both on threads."""
