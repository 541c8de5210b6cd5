"""What a folder says of itself: card, Croissant, provenance; each claim from what was counted."""
