"""WikiDoc: the living textbook and the patient information, from HTML pages and XML exports."""
