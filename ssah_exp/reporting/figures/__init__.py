"""Pictures, all in one style: each file draws one kind of figure from records or tables."""
