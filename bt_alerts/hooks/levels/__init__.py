"""What a watch computes, over plain numbers: a level with hysteresis, and the figures that are held against it.

Nothing here knows Backtrader. :mod:`bt_alerts.hooks.watching` reads the numbers from a running strategy.
"""
