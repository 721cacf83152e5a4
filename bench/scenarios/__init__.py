"""What is measured, a module for each matter."""
