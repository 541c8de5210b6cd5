"""What a folder says of itself: its card and its Croissant, each claim from what was counted."""
