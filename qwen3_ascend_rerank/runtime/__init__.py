"""What this machine and its packages are, and what they need for right scores."""
