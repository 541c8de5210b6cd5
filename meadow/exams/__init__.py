"""Exams: their items, the forms they come in, and the rows that touch them."""
