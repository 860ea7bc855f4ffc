"""What a student acts with: tools, what calls of them come to, and how both are written."""
