"""Statistics over searches and retrained cells: pure functions on numbers and data frames."""
