"""What a cycle produces: a folder per stage of the road, in the order in which the money goes."""
