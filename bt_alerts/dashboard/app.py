"""What Streamlit runs for each visit and each click. Everything is in :mod:`bt_alerts.dashboard.frame`."""

from bt_alerts.dashboard import frame

frame.show()
