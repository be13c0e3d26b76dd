"""What makes pages of what stands in code, in measured tables and in examples."""
