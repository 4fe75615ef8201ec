"""One file a service. :mod:`bt_alerts.dispatchers.base` says what a dispatcher is; ``registry`` finds them."""
