"""What readers of answers say, people or judges, and how far they agree."""
