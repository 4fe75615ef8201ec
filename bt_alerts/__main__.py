"""``python -m bt_alerts`` is the command line."""

from bt_alerts.cli import main

if __name__ == "__main__":
    main()
