"""Import of the search logs that RobustDARTS published, and checks of their figures."""
