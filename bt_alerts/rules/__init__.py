"""Who hears what, and when: pure functions of alert, state and time. :mod:`bt_alerts.rules.pipeline` reads top-down."""
