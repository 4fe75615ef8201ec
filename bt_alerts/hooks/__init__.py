"""Where Backtrader meets alerts. Nothing else in the package imports Backtrader, except the demo."""
