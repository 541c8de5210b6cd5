"""What training and evaluation must do alike. Nothing here imports torch before it is asked to."""
