"""What things cost, with the recipe beside every number."""
