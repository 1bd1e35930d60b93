"""What the venues say happened: their files become fills, each record accounted for."""
