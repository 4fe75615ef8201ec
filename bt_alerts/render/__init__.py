"""How alerts look: in a notebook, on a chart, while something long runs."""
