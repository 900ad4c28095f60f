"""What a tree says when it is asked: pure functions from a tree, or a frame, to frozen results."""
