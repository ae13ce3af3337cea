"""The method: margins to budgets, strategies to rows, and the round loop that trains on them."""
