"""The addresses that clients use; nothing of what answers behind them."""
