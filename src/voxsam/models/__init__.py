"""Promptable models: cards, weights, and the networks behind them; the only folder that imports torch."""
